"""`takopi config …` and the configuration file as every command sees it."""

import os
import stat

import pytest

from tests.support.command_line import takopi

TOKEN = "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"
FILE = f"""\
# my own words
default_engine = "codex"  # the best

[transports.telegram]
bot_token = "{TOKEN}"
chat_id = 42
allowed_user_ids = [1, 2]

[codex]
profile = "fast"
"""


@pytest.fixture
def home(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / ".takopi").mkdir()
    return tmp_path


@pytest.fixture
def file(home):
    path = home / ".takopi/takopi.toml"
    path.write_text(FILE)
    return path


def test_path_is_told_from_home(home):
    done = takopi(home, "config", "path")
    assert (done.returncode, done.stdout) == (0, "~/.takopi/takopi.toml\n")


@pytest.mark.parametrize("how", ["option", "variable", "config-path"])
def test_s1_another_file_for_every_command(home, how):
    other = home / "other.toml"
    other.write_text('default_engine = "pi"\n')
    before, after, env = [], [], {}
    if how == "option":
        before = ["--config", str(other)]
    elif how == "variable":
        env = {"TAKOPI_CONFIG": str(other)}
    else:
        after = ["--config-path", str(other)]
    done = takopi(home, *before, "config", "get", "default_engine", *after, **env)
    assert (done.returncode, done.stdout) == (0, '"pi"\n')


def test_s1_the_other_files_adapters_are_used(home):
    folder = home / "elsewhere"
    (folder / "adapters").mkdir(parents=True)
    (folder / "adapters/acme.yaml").write_text("adapter: 1\nid: acme\n")
    done = takopi(home, "--config", str(folder / "takopi.toml"), "adapters", "list")
    assert "broken" in next(line for line in done.stdout.splitlines() if line.startswith("acme"))


class TestList:
    def test_every_leaf_sorted_and_secrets_masked(self, home, file):
        done = takopi(home, "config", "list")
        assert done.returncode == 0
        assert done.stdout.splitlines()[:2] == [
            'codex.profile = "fast"',
            'default_engine = "codex"',
        ]
        assert "transports.telegram.chat_id = 42" in done.stdout
        assert TOKEN not in done.stdout

    def test_s21_secrets_on_request(self, home, file):
        done = takopi(home, "config", "list", "--show-secrets")
        assert f'transports.telegram.bot_token = "{TOKEN}"' in done.stdout

    def test_without_a_file(self, home):
        done = takopi(home, "config", "list")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "error: missing takopi config at ~/.takopi/takopi.toml\n"

    def test_of_a_broken_file(self, home, file):
        file.write_text(f'bot_token = "{TOKEN}\n')
        done = takopi(home, "config", "list")
        assert done.returncode == 2
        assert "Malformed TOML in" in done.stderr
        assert TOKEN not in done.stderr


class TestGet:
    def test_a_value(self, home, file):
        done = takopi(home, "config", "get", "transports.telegram.allowed_user_ids")
        assert done.returncode == 0
        assert "1" in done.stdout

    def test_s21_a_secret_is_masked(self, home, file):
        done = takopi(home, "config", "get", "transports.telegram.bot_token")
        assert done.returncode == 0
        assert TOKEN not in done.stdout

    def test_an_absent_key_says_nothing(self, home, file):
        done = takopi(home, "config", "get", "default_project")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("codex", "error: 'codex' is a table; pick a leaf node.\n"),
            ("a..b", "error: Invalid key path 'a..b'; empty segment.\n"),
            (" ", "error: Invalid key path; expected a non-empty value.\n"),
            (
                "a b",
                "error: Invalid key segment 'a b' in 'a b'; use only letters, numbers, '_' or '-'.\n",
            ),
        ],
    )
    def test_a_bad_key(self, home, file, key, message):
        done = takopi(home, "config", "get", key)
        assert (done.returncode, done.stderr) == (2, message)

    def test_without_a_file(self, home):
        assert takopi(home, "config", "get", "default_engine").returncode == 2


class TestSet:
    def test_keeps_comments_and_says_what_was_stored(self, home, file):
        done = takopi(home, "config", "set", "transports.telegram.session_mode", "chat")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == 'updated transports.telegram.session_mode = "chat"\n'
        assert file.read_text().startswith('# my own words\ndefault_engine = "codex"  # the best\n')

    def test_s21_a_negative_number_is_no_option(self, home, file):
        done = takopi(home, "config", "set", "transports.telegram.chat_id", "-1001234")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "updated transports.telegram.chat_id = -1001234\n"

    def test_s21_a_table_is_written_and_printed(self, home, file):
        done = takopi(home, "config", "set", "projects.app", '{path = "/srv/app"}')
        assert (done.returncode, done.stderr) == (0, "")
        assert "path" in done.stdout
        assert takopi(home, "config", "get", "projects.app.path").stdout == '"/srv/app"\n'

    def test_an_invalid_result_leaves_the_file(self, home, file):
        done = takopi(home, "config", "set", "transports.telegram.session_mode", "wild")
        assert done.returncode == 2
        assert "transports.telegram.session_mode" in done.stderr
        assert "chat" in done.stderr  # what is allowed
        assert file.read_text() == FILE

    def test_an_engines_value_is_checked_by_its_adapter(self, home, file):
        done = takopi(home, "config", "set", "codex.extra_args", "7")
        assert done.returncode == 2
        assert "Invalid `codex.extra_args` in" in done.stderr
        assert "expected a list of strings" in done.stderr
        assert file.read_text() == FILE

    def test_a_misspelt_setting_is_refused_with_the_right_one(self, home, file):
        done = takopi(home, "config", "set", "default_engin", "codex")
        assert done.returncode == 2
        assert "did you mean `default_engine`?" in done.stderr
        assert file.read_text() == FILE

    def test_s3_an_unknown_engine_is_warned_about(self, home, file):
        done = takopi(home, "config", "set", "codx.profile", "fast")
        assert done.returncode == 0
        assert "did you mean `codex`?" in done.stderr

    def test_an_unknown_default_engine_is_warned_about(self, home):
        done = takopi(home, "config", "set", "default_engine", "codx")
        assert done.returncode == 0
        assert done.stderr == (
            "warning: `default_engine`: there is no engine `codx`; did you mean `codex`?\n"
        )

    def test_a_new_file_is_made_for_a_new_user(self, home):
        done = takopi(home, "config", "set", "default_engine", "codex")
        assert (done.returncode, done.stderr) == (0, "")
        made = home / ".takopi/takopi.toml"
        assert made.read_text() == 'default_engine = "codex"\n'
        assert stat.S_IMODE(os.stat(made).st_mode) == 0o600

    def test_what_a_chat_needs_can_be_set_one_by_one(self, home):
        done = takopi(home, "config", "set", "transports.telegram.bot_token", TOKEN)
        assert done.returncode == 0
        assert TOKEN not in done.stdout + done.stderr
        assert "still missing: transports.telegram.chat_id" in done.stderr
        done = takopi(home, "config", "set", "transports.telegram.chat_id", "42")
        assert (done.returncode, done.stderr) == (0, "")


class TestUnset:
    def test_prunes_what_it_empties(self, home, file):
        done = takopi(home, "config", "unset", "codex.profile")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert "codex" not in file.read_text().replace('"codex"', "")

    def test_an_absent_key(self, home, file):
        assert takopi(home, "config", "unset", "default_project").returncode == 1

    def test_an_invalid_result_leaves_the_file(self, home, file):
        done = takopi(home, "config", "unset", "transports.telegram.bot_token")
        assert done.returncode == 2
        assert "transports.telegram.bot_token" in done.stderr
        assert file.read_text() == FILE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_offered(home, shell):
    # The shell is told, because nobody's shell runs the tests.
    env = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = takopi(home, "--show-completion", shell, **env)
    assert done.returncode == 0, done.stderr
    assert "_TAKOPI_COMPLETE" in done.stdout


def test_commands_are_completed(home):
    env = {"_TAKOPI_COMPLETE": "complete_bash", "COMP_WORDS": "takopi do", "COMP_CWORD": "1"}
    assert takopi(home, **env).stdout.split() == ["doctor"]
