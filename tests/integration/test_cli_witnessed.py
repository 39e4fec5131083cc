"""`--witnessed`: the command goes on only when the ledger's witnesses have seen what was logged."""

from __future__ import annotations

from pathlib import Path

from commands import Ran, platemark, png
from integration.live import Live, Place
from integration.test_witnessed import named, scene

from platemark import evidence, tlog_proof


def _captured(live: Live, folder: Path, *more: object) -> tuple[Path, Ran]:
    """A key of its own, enrolled, and one image captured with it."""
    key, image = folder / "dx1.pem", folder / "image.png"
    registrar = live.place.directory / "offline" / "registrar.key"
    uri = "https://devices.test/witnessed"
    assert platemark("keygen", key).code == 0
    words = ("--key", key, "--device", uri, "--role", "modality", "--registrar", registrar, "--server", live.address)
    assert platemark("enrol", *words).code == 0
    image.write_bytes(png())
    return image, platemark("capture", image, "--key", key, "--server", live.address, "--json", *more)


def test_what_was_waited_for_is_under_a_witnessed_checkpoint(place: Place, tmp_path: Path) -> None:
    """Its evidence, fetched at once, carries the cosignatures; submitting it again waits and is answered as well."""
    witnesses = named(place, "w1.test", "w2.test")
    with scene(place, 2, *witnesses) as live:
        image, ran = _captured(live, tmp_path, "--witnessed")
        assert (ran.code, ran.json()["counts"]) == (0, {"logged": 1})
        assert platemark("fetch", image, "--server", live.address).code == 0
        again = platemark("submit", f"{image}.statement", "--witnessed", "--server", live.address, "--json")
        assert (again.code, again.json()["counts"]) == (0, {"repeated": 1})
    bundle = evidence.from_bytes(Path(f"{image}.evidence").read_bytes())
    signers = {name for name, _, _ in tlog_proof.parse(bundle.record.proof).checkpoint.signed.signatures}
    assert {"w1.test", "w2.test"} <= signers


def test_a_ledger_without_witnesses_says_so(place: Place, tmp_path: Path) -> None:
    """Nothing can be waited for: an error, and what was signed is kept."""
    with place.served() as live:
        image, ran = _captured(live, tmp_path, "--witnessed")
        assert (ran.code, "has no witnesses" in ran.err) == (2, True)
        assert Path(f"{image}.statement").is_file()
        assert platemark("submit", f"{image}.statement", "--server", live.address).code == 0
