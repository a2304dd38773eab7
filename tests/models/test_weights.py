"""Weight files are found, fetched, checked and read without running what they hold."""

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import pickle
import re
import threading
import zipfile

import numpy as np
import pytest
import torch

from ndvr import models
from ndvr.models import weights as files
from ndvr.models.card import File
from ndvr.models.layers.whitening import read_pca

PAYLOAD = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(PAYLOAD).hexdigest()


class _Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802 (the name http.server calls)
        self.server.asked.append(self.path)
        if self.path == "/gone":
            self.send_error(404)
            return
        body = {"/altered": PAYLOAD[:-1] + b"!", "/page": b"\n<!DOCTYPE html><p>Sign in"}.get(self.path, PAYLOAD)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    """A web server on this machine; `site.asked` lists what was fetched."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def file_at(site, path: str = "/good", *mirrors: str, sha256: str | None = SHA256) -> File:
    return File(name="w.pth", url=site.url + path, sha256=sha256, mirrors=tuple(site.url + m for m in mirrors))


@pytest.mark.slow
def test_a_file_is_fetched_once_and_then_found(site, tmp_path):
    path = files.fetch(file_at(site), cache=tmp_path / "cache")
    assert path.read_bytes() == PAYLOAD
    assert files.fetch(file_at(site), cache=tmp_path / "cache") == path
    assert site.asked == ["/good"]
    assert os.listdir(path.parent) == ["w.pth"]


@pytest.mark.slow
def test_mirrors_are_tried_in_order(site, tmp_path):
    files.fetch(file_at(site, "/gone", "/cut", "/altered", "/good"), cache=tmp_path)
    assert site.asked == ["/gone", "/cut", "/altered", "/good"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "reason"),
    [("/gone", "Not Found"), ("/cut", "ended after 640000 of 1280000"), ("/altered", "it has sha256")],
)
def test_a_bad_transfer_leaves_nothing_and_says_what_to_do(site, tmp_path, path, reason):
    with pytest.raises(files.WeightsError) as failure:
        files.fetch(file_at(site, path), cache=tmp_path)
    assert re.search(f"cannot get w.pth from {site.url}{path} .*{reason}", str(failure.value))
    assert f"sha256 {SHA256}" in str(failure.value)
    assert str(failure.value).endswith(f"put it at {tmp_path / 'w.pth'}")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_cut_transfer_is_noticed_without_a_checksum(site, tmp_path):
    with pytest.raises(files.WeightsError, match="ended after .*its authors give no checksum"):
        files.fetch(file_at(site, "/cut", sha256=None), cache=tmp_path, trust_http=True)


@pytest.mark.slow
def test_a_web_page_in_place_of_a_file_is_not_kept(site, tmp_path):
    with pytest.raises(files.WeightsError, match="/page .it answers with a web page, .* put it at .*w.pth"):
        files.fetch(file_at(site, "/page", sha256=None), cache=tmp_path, trust_http=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_the_first_digits_of_a_checksum_suffice(site, tmp_path):
    assert files.fetch(file_at(site, sha256=SHA256[:8]), cache=tmp_path).exists()


@pytest.mark.slow
def test_another_file_under_the_name_in_the_cache_is_refused(site, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"something else")
    with pytest.raises(files.WeightsError, match="is not w.pth: its sha256 is .* delete it"):
        files.fetch(file_at(site), cache=tmp_path)


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "ndvr"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert files.cache_folder() == tmp_path / "me" / ".cache" / "ndvr"


def test_weights_that_cannot_be_fetched_name_file_address_and_place(monkeypatch, tmp_path):
    # Nothing listens on port 9 of this machine: refused at once, as without a network.
    card = models.card("s2vs")
    nowhere = File(name="s2vs_dns.pth", url="http://127.0.0.1:9/s2vs_dns.pth", sha256=SHA256)
    monkeypatch.setitem(card.weights, "s2vs_dns", nowhere)
    with pytest.raises(
        files.WeightsError, match="cannot get s2vs_dns.pth from http://127.0.0.1:9/s2vs_dns.pth .*refused"
    ):
        files.resolve(None, card.weights, cache=tmp_path)


@pytest.mark.slow
def test_without_a_checksum_nothing_is_fetched_by_http_unless_it_is_trusted(site, tmp_path):
    with pytest.raises(files.WeightsError, match="refused: it has no checksum, .* fetch it yourself .* put it at"):
        files.fetch(file_at(site, sha256=None), cache=tmp_path)
    assert os.listdir(tmp_path) == [] and site.asked == []
    path = files.fetch(file_at(site, sha256=None), cache=tmp_path, trust_http=True)
    assert path.read_bytes() == PAYLOAD


@pytest.mark.slow
@pytest.mark.parametrize("by", ["trust", "hand"])
def test_the_checksum_of_the_first_use_is_kept_and_tested(site, tmp_path, by):
    file = file_at(site, sha256=None)
    if by == "hand":
        (tmp_path / "w.pth").write_bytes(PAYLOAD)
    path = files.fetch(file, cache=tmp_path, trust_http=by == "trust")
    kept = tmp_path / "w.pth.sha256"
    assert kept.read_text() == f"{SHA256}  w.pth\n"  # as sha256sum -c reads it
    assert files.fetch(file, cache=tmp_path) == path
    path.write_bytes(PAYLOAD[:-1] + b"!")
    with pytest.raises(files.WeightsError, match=f"changed since it was first used: its sha256 was {SHA256}, now"):
        files.fetch(file, cache=tmp_path)
    kept.unlink()
    assert files.fetch(file, cache=tmp_path) == path


# ---- reading


def head_state() -> dict[str, torch.Tensor]:
    return models.load("s2vs", "random:101", parts=("similarity",)).network("similarity").state_dict()


def load(weights):
    return models.load("s2vs", weights, parts=("similarity",))


@pytest.fixture
def checkpoint(tmp_path) -> str:
    """A file as the authors' training script writes it."""
    content = {"model": head_state(), "args": argparse.Namespace(lr=5e-5, experiment="x"), "global_step": 3}
    torch.save(content | {"optimizer": {"state": {}, "param_groups": [{"lr": 5e-5}]}}, tmp_path / "s2vs_dns.pth")
    return str(tmp_path / "s2vs_dns.pth")


def test_a_checkpoint_in_the_authors_wrapping_loads(checkpoint):
    assert load(checkpoint).digest("similarity") == load("random:101").digest("similarity")
    assert load(checkpoint).trained


def test_a_published_name_is_read_from_the_cache(checkpoint):
    folder = os.path.dirname(checkpoint)
    model = models.load("s2vs", "s2vs_dns", parts=("similarity",), cache=folder)
    assert model.digest("similarity") == load("random:101").digest("similarity")


def test_a_mapping_of_arrays_loads_and_is_copied():
    arrays = {key: value.numpy().copy() for key, value in head_state().items()}
    model = load(arrays)
    digest = model.digest("similarity")
    for value in arrays.values():
        value += 1
    assert model.digest("similarity") == digest


def test_half_precision_weights_are_computed_with_in_float32():
    model = load({key: value.half() for key, value in head_state().items()})
    assert {value.dtype for value in model.network("similarity").state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s.pop("visil_head.conv2.bias"), "lacks visil_head.conv2.bias$"),
        (lambda s: s.update(extra=torch.zeros(1)), "has extra that do not belong here"),
        (
            lambda s: s.update({"attention.transform.bias": torch.zeros(7)}),
            r"attention.transform.bias has shape \(7,\), expected \(512,\)",
        ),
        (lambda s: s["visil_head.fconv.bias"].fill_(torch.nan), "visil_head.fconv.bias has values that are not finite"),
        (lambda s: s.clear(), "no tensors"),
        (lambda s: s.update(lr=0.1), "entries that are not tensors: lr"),
    ],
)
def test_weights_that_do_not_fit_are_told_in_one_sentence(change, complaint):
    state = {key: value.clone() for key, value in head_state().items()}
    change(state)
    with pytest.raises(files.WeightsError, match=complaint) as failure:
        load(state)
    assert "\n" not in str(failure.value)


def test_the_extractor_alone_is_no_similarity_network():
    with pytest.raises(files.WeightsError, match="the given mapping holds no similarity network"):
        load({"1.1.mean": torch.zeros(3840)})


@pytest.mark.parametrize("old_format", [False, True])
def test_files_cut_short_say_so(tmp_path, old_format):
    path = tmp_path / "w.pth"
    torch.save({"model": head_state()}, path, _use_new_zipfile_serialization=not old_format)
    whole = path.read_bytes()
    for size in (0, 5, 1000, len(whole) // 2, len(whole) - 50):
        path.write_bytes(whole[:size])
        with pytest.raises(files.WeightsError, match="empty|cut short"):
            load(str(path))


def test_no_changed_byte_of_a_file_counts(tmp_path):
    path, state = tmp_path / "w.pth", head_state()
    torch.save({"model": state, "training": json.dumps({"steps": 100})}, path)
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 150):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            content = files.read(path)
        except files.WeightsError:
            continue
        assert content["training"] == '{"steps": 100}', at
        assert all(torch.equal(content["model"][key], value) for key, value in state.items()), at
    said = whole.index(b'{"steps": 100}') + 11
    path.write_bytes(whole[:said] + b"9" + whole[said + 1 :])
    with pytest.raises(files.WeightsError, match="w.pth is damaged .its bytes are not those that its checksums say"):
        load(str(path))
    assert files.trained_on(path) is None, "what it was trained on is not known either"


def test_no_changed_byte_of_what_says_which_tensors_there_are_is_a_traceback(tmp_path):
    """Made by hand, with the right checksums: its bytes are a program for a small machine."""
    path, rng = tmp_path / "w.pth", np.random.default_rng(0)
    torch.save({"model": head_state()}, path)
    with zipfile.ZipFile(path) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}
    (said,) = (name for name in whole if name.endswith("data.pkl"))
    refused = 0
    for _ in range(150):
        data = bytearray(whole[said])
        for at in rng.integers(2, len(data), 2):
            data[at] = rng.integers(256)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (whole | {said: bytes(data)}).items():
                archive.writestr(name, content)
        with contextlib.suppress(files.WeightsError):
            files.read(path)
            continue
        refused += 1
    assert refused > 50


def test_what_unpacks_to_more_than_it_holds_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (1 << 20))
    with pytest.raises(files.WeightsError, match="w.pth has .* bytes and unpacks to 1,048,576, .*refused"):
        load(str(tmp_path / "w.pth"))
    np.savez_compressed(tmp_path / "pca.npz", U=np.zeros((512, 512)), lams=np.zeros(512), mu=np.zeros(512))
    with pytest.raises(files.WeightsError, match="pca.npz has .* bytes and unpacks to .*refused"):
        read_pca(tmp_path / "pca.npz")


def test_files_of_something_else_say_so(tmp_path):
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(files.WeightsError, match="is a web page or text"):
        load(str(page))
    noise = tmp_path / "noise.pth"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(files.WeightsError, match="not a torch file"):
        load(str(noise))
    numbers = tmp_path / "list.pth"
    torch.save([1, 2], numbers)
    with pytest.raises(files.WeightsError, match="holds a list"):
        load(str(numbers))


class _Touch:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_a_file_that_wants_to_run_code_is_refused(tmp_path, save):
    save({"model": _Touch(tmp_path / "owned")}, tmp_path / "evil.pth")
    with pytest.raises(files.WeightsError, match=r"evil.pth wants to run code when loaded \(io.open\); refused"):
        load(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("command", [os.system, eval])
def test_a_plain_pickle_that_calls_something_is_named_for_what_it_calls(tmp_path, protocol, command):
    class Call:
        def __reduce__(self):
            return command, (f"touch {tmp_path}/owned",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": Call()}, protocol))
    with pytest.raises(files.WeightsError, match=r"evil.pth wants to run code .*\(\S*(system|eval)\); refused"):
        load(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "owned").exists()


def test_a_program_of_torchscript_is_called_that(tmp_path):
    torch.jit.script(torch.nn.ReLU()).save(str(tmp_path / "model.pt"))
    with pytest.raises(files.WeightsError, match="wants to run code when loaded .a TorchScript program.; refused"):
        load(str(tmp_path / "model.pt"))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(files.WeightsError, match="neither a file nor one of s2vs_dns, s2vs_vcdb, random, random:SEED"):
        load("s2vs_best")
    with pytest.raises(ValueError, match="write random or random:SEED"):
        load("random:x")


@pytest.mark.slow
def test_a_file_that_is_no_pca_says_what_one_holds(tmp_path):
    torch.save({"mean": torch.zeros(3840)}, tmp_path / "pca.pth")
    backbone = models.load("s2vs", "random:1", parts=("embed",)).network("embed").state_dict()
    mapping = {key: value for key, value in backbone.items() if not key.startswith("1.1.")}
    with pytest.raises(ValueError, match=r"pca.pth is not a PCA file: it should hold mean \(C,\), d \(C,\)"):
        models.load("s2vs", mapping, parts=("embed",), pca=str(tmp_path / "pca.pth"))
