"""`thunderctl offers`: the list, and what tokens cost on it."""

import json

import pytest

from thunderctl.cli.main import main

CSV = (
    "provider,gpu,gpu_count,usd_per_hour,offer_id,disk_gb\n"
    "vast,A6000,1,0.4,card,\nvast,A6000,1,0.2,cheap,\nvast,A4000,1,0.1,small,\nvast,A6000,1,0.1,full,10\n"
)
RANK = ("offers", "--rank", "--offers", "offers.csv", "--model", "qwen3-8b")


@pytest.fixture
def shown(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("THUNDER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "offers.csv").write_text(CSV)

    def run(*arguments, code=0):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        assert ended.value.code == code
        return capsys.readouterr()

    return run


def test_ranked_offers_carry_what_a_million_tokens_cost(shown):
    document = json.loads(shown(*RANK, "--json").out)
    assert (document["schema"], document["model"], document["dtype"]) == ("thunder.offers/v1", "qwen3-8b", "bfloat16")
    by_name = {offer["offer_id"]: offer for offer in document["offers"]}
    assert list(by_name) == ["cheap", "card", "small", "full"]
    for phase in ("prefill", "decode", "mixed"):
        key = f"usd_per_million_{phase}_tokens"
        assert by_name["card"][key] == pytest.approx(2 * by_name["cheap"][key])
        assert by_name["small"][key] is None
    assert by_name["full"]["refused"].startswith("10 GB of disk")


def test_the_table_says_what_is_counted_and_what_was_left_out(shown):
    said = shown(*RANK, "--by", "decode")
    assert "$ per million tokens of qwen3-8b (bfloat16), conversation, by decode" in said.out
    assert said.out.index("cheap") < said.out.index("card")
    assert "The engine can't run on 1 more: 1 too little disk." in said.err


def test_a_model_without_rank_is_refused(shown):
    assert "expected --rank" in shown("offers", "--model", "qwen3-8b", code=2).err


def test_the_plain_list_is_by_price_per_gpu(shown):
    document = json.loads(shown("offers", "--offers", "offers.csv", "--json").out)
    assert [offer["offer_id"] for offer in document["offers"]] == ["full", "small", "cheap", "card"]


def test_nothing_found_is_a_sentence_and_no_empty_table(shown):
    said = shown("offers", "--offers", "offers.csv", "--max-usd-per-hour", "0.01")
    assert said.out == ""
    assert said.err.startswith("No offer is like that (file of ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--gpu", "moon"], "GPU 'moon' is not known"), (["--rank", "--model", "nope"], "Model 'nope' is not known")],
)
def test_what_is_spelled_wrongly_is_said_before_anybody_is_asked(shown, monkeypatch, arguments, words):
    def asked(*_, **__):
        raise AssertionError("markets were asked first")

    monkeypatch.setattr("thunderctl.markets.market.read_market", asked)
    assert words in shown("offers", *arguments, code=2).err


def test_a_file_that_a_spreadsheet_saved_is_read(shown, tmp_path):
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    assert len(json.loads(shown("offers", "--offers", "excel.csv", "--json").out)["offers"]) == 4
