import pytest

from beewire.symbols import demangling as module
from beewire.symbols.demangling import demangle, legacy_rust

CPLUSPLUS = [
    ("_Z1fv", "f()"),
    ("_ZN3app6Server5serveEi", "app::Server::serve(int)"),
    ("_ZN3appL6handleEPKcm", "app::handle(char const*, unsigned long)"),
    ("_ZN3app4BaseD2Ev", "app::Base::~Base()"),
    ("_ZplRK3VecS1_", "operator+(Vec const&, Vec const&)"),
    ("_Z3maxIiET_S0_S0_", "int max<int>(int, int)"),
    ("_Z3fooi@@VERS_1.0", "foo(int)"),
]
RUST = [
    ("_ZN3app6server5serve17h0123456789abcdefE", "app::server::serve"),
    (
        "_ZN4core3ptr42drop_in_place$LT$alloc..string..String$GT$17h0123456789abcdefE",
        "core::ptr::drop_in_place<alloc::string::String>",
    ),
    (
        "_ZN52_$LT$app..Thing$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
        "<app::Thing as core::ops::drop::Drop>::drop",
    ),
]
NEW_RUST = [
    ("_RNvC6_123foo3bar", "123foo::bar"),
    ("_RNvNtC3app6server5serve", "app::server::serve"),
]


@pytest.fixture(params=["pycxxfilt", "libstdc++"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both demanglers in turn."""
    found = module._find() if request.param == "pycxxfilt" else module._of_libstdcxx()
    if request.param == "pycxxfilt":
        pytest.importorskip("pycxxfilt")
    if found is None:
        pytest.skip("libstdc++ is not installed")
    fresh = module._Engine()
    fresh.run = found
    monkeypatch.setattr(module, "_engine", fresh)
    return str(request.param)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("mangled", "plain"), [*CPLUSPLUS, *RUST])
def test_names_read_as_their_authors_wrote_them(mangled: str, plain: str) -> None:
    assert demangle(mangled) == plain


@pytest.mark.parametrize(("mangled", "plain"), NEW_RUST)
def test_names_of_the_newer_rust_scheme_are_read(mangled: str, plain: str) -> None:
    pytest.importorskip("pycxxfilt")

    assert demangle(mangled) == plain


@pytest.mark.parametrize(
    "name",
    ["main", "_start", "_Zrubbish", "_ZN", "_R", "__x64_sys_read", "", "_Z" * 900],
)
def test_other_names_stay_as_they_are(name: str) -> None:
    assert demangle(name) == name


def test_versions_are_taken_off() -> None:
    assert demangle("memcpy@@GLIBC_2.14") == "memcpy"


@pytest.mark.parametrize("ending", [".cold", ".constprop.0", ".llvm.1234", ".part.0"])
def test_parts_that_compilers_split_off_keep_their_mark(ending: str) -> None:
    found = demangle(f"_ZN3app4workEv{ending}")

    assert found.startswith("app::work()")
    assert ending.lstrip(".") in found


@pytest.mark.parametrize(
    ("mangled", "plain"),
    [
        ("_ZN11a$uffffff$b17h0123456789abcdefE", "a$uffffff$b"),
        ("_ZN3app17h0123456789abcdefE", "app"),
        ("_ZN3app99h0123456789abcdefE", None),
        ("_ZN17h0123456789abcdefE", None),
        ("_ZN3app4workEv", None),
    ],
)
def test_the_older_rust_scheme_is_told_from_cplusplus(
    mangled: str, plain: str | None
) -> None:
    assert legacy_rust(mangled) == plain


def test_without_any_demangler_names_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = module._Engine()
    fresh.run = lambda _: None
    monkeypatch.setattr(module, "_engine", fresh)

    assert demangle("_Z1fv") == "_Z1fv"
