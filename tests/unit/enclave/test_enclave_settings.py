"""enclave.toml: read once, before the launcher; what cannot be is refused by name."""

import tomllib
from dataclasses import asdict

import pytest

from trustspace.enclave.home import initialise
from trustspace.enclave.settings import DEFAULT_TEXT, FILE, Settings, read_settings
from trustspace.errors import InvalidInput


def test_a_new_enclave_s_file_says_what_the_defaults_are(tmp_path):
    initialise(tmp_path / "enclave", "盲盒", "127.0.0.1:0", ())
    assert (tmp_path / "enclave" / FILE).read_text(encoding="utf-8") == DEFAULT_TEXT
    assert tomllib.loads(DEFAULT_TEXT) == {**asdict(Settings()), "gpus": []}
    assert read_settings(tmp_path / "enclave") == read_settings(tmp_path / "none") == Settings()


def test_what_it_says_reaches_the_launcher(tmp_path):
    text = 'sandbox = "landlock"\nsandbox_user = "ward-a"\nminimum_tier = "namespaces+seccomp"\nwarm = 0\nthreads = 4\n'
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    config = read_settings(tmp_path).config(tmp_path, None)
    assert (config.backend, config.user, config.minimum_tier) == ("landlock", "ward-a", "namespaces+seccomp")
    assert (config.warm, config.threads, config.app_directory) == (0, 4, tmp_path / "app")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sandbox = ", FILE),
        ('sandbox = "none"\n', "none"),
        ('minimum_tier = "strong"\n', "strong"),
        ("warm = -1\n", "warm"),
        ("warm = true\n", "warm"),
        ('warm = "one"\n', "warm"),
        ("threads = 0\n", "threads"),
        ("gpus = 0\n", "gpus"),
        ('gpus = ["0"]\n', "gpus"),
        ("gpus = [true]\n", "gpus"),
        ("gpus = [1, 1]\n", "gpus"),
        ('sandbox = "gvisor"\ngpus = [0]\n', "gvisor"),
        ("sandbx = 1\n", "sandbx"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, named):
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=named):
        read_settings(tmp_path).config(tmp_path, None)


def test_gpus_are_listed_by_number(tmp_path):
    (tmp_path / FILE).write_text("gpus = [1, 0]\n", encoding="utf-8")
    assert read_settings(tmp_path).config(tmp_path, None).gpus == (1, 0)
