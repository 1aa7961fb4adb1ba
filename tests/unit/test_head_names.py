import flame_files
import pytest

from raytrack import cli
from raytrack.config import RunConfig
from raytrack.errors import AssetError, ConfigError
from raytrack.head.library import load_head
from raytrack.head.names import head_path, user_head_names, user_head_path, user_heads_folder
from raytrack.job import resolved
from raytrack.mapping import from_mapping


@pytest.fixture
def own_assets(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYTRACK_ASSETS", str(tmp_path / "assets"))
    return tmp_path / "assets"


def config(head: str) -> RunConfig:
    return from_mapping(RunConfig, {"head": head, "sequences": [{"video": "a.mp4"}]}, where="test")


def test_heads_lie_in_the_users_own_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("RAYTRACK_ASSETS", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_heads_folder() == tmp_path / ".local/share/raytrack/heads"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert user_heads_folder() == tmp_path / "data/raytrack/heads"
    monkeypatch.setenv("RAYTRACK_ASSETS", str(tmp_path / "mine"))
    assert user_heads_folder() == tmp_path / "mine/heads"


def test_a_name_that_is_not_there_is_explained(own_assets, tmp_path):
    (own_assets / "heads").mkdir(parents=True)
    (own_assets / "heads" / "flame2023.npz").write_bytes(b"x")
    (own_assets / "heads" / ".tmp-1-b.npz").write_bytes(b"x")
    assert user_head_names() == ("flame2023",)
    with pytest.raises(AssetError, match=r"no head 'flame2020'.*default, flame2023.*import-flame.*--name flame2020"):
        head_path("flame2020")
    with pytest.raises(ConfigError, match="no head 'flame2020'"):
        resolved(config("flame2020"), tmp_path)
    assert resolved(config("flame2023"), tmp_path).head == str(own_assets / "heads" / "flame2023.npz")
    assert resolved(config("heads/b.npz"), tmp_path).head == str(tmp_path / "heads/b.npz")
    assert resolved(config("default"), tmp_path).head == "default"


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a b", "default", "x.npz"])
def test_names_that_are_no_names_are_refused(own_assets, name):
    with pytest.raises(AssetError, match="name"):
        user_head_path(name)


def test_the_command_line_imports_and_lists(own_assets, tmp_path, capsys):
    model, masks = flame_files.write_files(tmp_path / "download")
    model = model.rename(model.with_name("generic_model.pkl"))
    assert cli.main(["assets", "import-flame", "--model", str(model), "--masks", str(masks)]) == 0
    assert "--head flame2020" in capsys.readouterr().out
    path = own_assets / "heads" / "flame2020.npz"
    assert path.stat().st_mode & 0o077 == 0, "nobody else's"
    head = load_head("flame2020")
    assert (head.name, head.family, head.num_vertices) == ("flame2020", "flame", 5143)
    assert cli.main(["assets", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["default", "flame2020"]


def test_the_command_line_explains_files_that_are_not_flame(own_assets, tmp_path, capsys):
    (tmp_path / "a.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert cli.main(["assets", "import-flame", "--model", str(tmp_path / "a.pkl"), "--masks", "none.pkl"]) == 1
    assert "it would load os.system" in capsys.readouterr().err
    assert not own_assets.exists()
