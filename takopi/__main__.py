"""`python -m takopi` is `takopi`."""

import sys

if __name__ == "__main__":
    # Python puts the working directory first: what lies in a cloned repository must not be imported,
    # nor be taken for an installed plugin.
    sys.path.pop(0)
    from takopi.cli.app import main

    main()
