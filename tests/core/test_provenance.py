import platform
from pathlib import Path

from ptq_pipeline.core.provenance import cpu_flags


def test_relevant_flags_of_the_first_processor_sorted(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx512_vnni avx2 vme\n\nprocessor : 1\n")
    assert cpu_flags(cpuinfo) == ["avx2", "avx512_vnni"]


def test_arm_calls_them_features(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("Features : fp asimddp asimd\n")
    assert cpu_flags(cpuinfo) == ["asimd", "asimddp"]


def test_the_architecture_stands_in_where_flags_cannot_be_read(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "missing") == [platform.machine()]
