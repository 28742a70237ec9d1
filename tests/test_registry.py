"""Names become objects; wrong names become one helpful line."""

import subprocess
import sys

import pytest

from gancomp.errors import ConfigError
from gancomp.registry import NETWORKS, build_network, resolve


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_line_of_the_table_resolves_and_builds_what_it_is_called(name: str) -> None:
    assert callable(resolve(NETWORKS, "arch", name))
    assert build_network(name, width=4).arch == name


def test_an_unknown_name_suggests_the_nearest_and_lists_all() -> None:
    with pytest.raises(ConfigError) as caught:
        build_network("mobile-resnet")
    message = str(caught.value)
    assert message.startswith("`arch` mobile-resnet: unknown; did you mean mobile-resnet")
    assert all(name in message for name in NETWORKS)
    with pytest.raises(ConfigError, match=r"`arch` zzz: unknown; Known: "):
        build_network("zzz")


def test_a_setting_the_network_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"`arch` patchgan has no setting 'dropout'.*layers"):
        build_network("patchgan", dropout=0.5)


def test_importing_the_registry_imports_no_torch() -> None:
    code = "import sys, gancomp.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
