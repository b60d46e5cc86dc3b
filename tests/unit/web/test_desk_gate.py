"""Who is let in, and what a request must come with; each refusal beside the same request that is granted."""

import json

import pytest
from support.enclaves import until
from support.visitor import HOST, Visitor, plain

from trustspace.web.gate import COOKIE, HEADERS, Gate

GETS = ("/", "/queue", "/queue?read=yes", "/requests", "/overview", "/static/desk.css", "/nowhere")


def test_the_token_opens_once_and_is_gone(story):
    visitor = Visitor(story.hospital, "Dr Li")
    way_in = visitor.gate.address.removeprefix(f"http://{HOST}{visitor.gate.root}")
    assert visitor.get("/queue").status_code == 403  # before anybody entered
    assert visitor.ask("GET", way_in[:-1] + "x").status_code == 403
    assert visitor.ask("GET", "/?token=").status_code == 403
    assert visitor.enter().get("/queue").status_code == 200
    again = Visitor.ask(visitor, "GET", way_in, headers={"Cookie": ""})
    assert again.status_code == 403
    assert "Set-Cookie" not in again.headers


def test_the_secrets_are_long_and_new_each_time():
    one, other = Gate(HOST), Gate(HOST)
    tokens = {gate.address.partition("?token=")[2] for gate in (one, other)}
    assert len(tokens) == 2
    assert min(len(token) for token in tokens) >= 43  # 256 bits
    assert one.form != other.form
    assert one.root != other.root


def test_the_cookie_is_for_this_desk_alone(story):
    visitor = Visitor(story.hospital, "Dr Li")
    answer = visitor.ask("GET", visitor.gate.address.removeprefix(f"http://{HOST}{visitor.gate.root}"))
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert f"Path={visitor.gate.root}" in cookie
    assert "Domain" not in cookie
    assert len(visitor.gate.root) >= 24
    assert Gate(HOST).root != visitor.gate.root


@pytest.mark.parametrize(
    "host",
    ["", "127.0.0.1", "127.0.0.1:80", "localhost:41234", "rebound.example:41234", "127.0.0.1:41234.", "[::1]:41234",
     "127.0.0.1:41234,evil.example"],
)  # fmt: skip
def test_another_name_for_this_machine_is_refused(visitor, host):
    """DNS rebinding: a page of another site's, whose name now resolves here, sends that name."""
    assert visitor.get("/queue").status_code == 200
    refused = visitor.get("/queue", headers={"Host": host or "x"})
    assert refused.status_code == 421
    assert "Dr Li" not in refused.text


def test_a_wrong_cookie_is_refused_on_every_page(visitor, story):
    for path in (*GETS, f"/case/{story.job}", f"/request/{story.job}"):
        for cookie in ("", f"{COOKIE}=", f"{COOKIE}={'A' * 43}", f"{COOKIE}=ä"):
            refused = visitor.ask("GET", path, headers={"Cookie": cookie})
            assert refused.status_code in {403, 404}, path
            assert "Dr Li" not in refused.text
            assert visitor.gate.form not in refused.text, path
    assert visitor.gate.form in visitor.get("/queue").text, "the control: whoever was let in is given it"


def test_another_sites_page_cannot_even_look(visitor):
    for site in ("cross-site", "same-site"):  # same-site: another port of this machine
        assert visitor.get("/queue", headers={"Sec-Fetch-Site": site}).status_code == 403
    for site in ("none", "same-origin"):
        assert visitor.get("/queue", headers={"Sec-Fetch-Site": site}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:9", "Sec-Fetch-Site": "same-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": ""},  # a sandboxed frame, and a browser that does not say whose
        {"Origin": "", "Sec-Fetch-Site": ""},
        {"Origin": f"https://{HOST}"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_of_another_site_changes_nothing(visitor, headers):
    assert visitor.post("/overview/check").status_code == 303
    assert (
        visitor.post(
            "/overview/check", headers={"Origin": f"http://{HOST}", "Sec-Fetch-Site": ""}
        ).status_code
        == 303
    )
    refused = visitor.post("/overview/check", headers=headers)
    assert refused.status_code == 403
    assert "did not come from" in refused.text


@pytest.mark.parametrize("form", [None, "", "x" * 43])
def test_a_form_without_the_desks_own_field_changes_nothing(visitor, form):
    assert visitor.post("/overview/check").status_code == 303
    assert (
        visitor.ask("POST", "/overview/check", data={} if form is None else {"form": form}).status_code == 403
    )


def test_looking_changes_nothing(visitor, story):
    before = (story.hospital.session.sync().size, json.dumps(story.hospital.state(), sort_keys=True))
    for path in (*GETS, f"/case/{story.job}", f"/request/{story.job}"):
        visitor.get(path)
    for path in (f"/case/{story.job}/confirm", "/sign/" + "a" * 22, "/overview/check", "/language", "/close"):
        assert visitor.get(path).status_code == 405, path
    assert (story.hospital.session.sync().size, json.dumps(story.hospital.state(), sort_keys=True)) == before


def test_every_answer_carries_the_policy(visitor, story):
    answers = [
        *(visitor.get(path) for path in (*GETS, f"/case/{story.job}", "/case/" + "0" * 64)),
        visitor.get("/queue", headers={"Host": "evil.example"}),
        visitor.ask("GET", "/queue", headers={"Cookie": ""}),
        visitor.ask("GET", "/queue", headers={"Sec-Fetch-Site": "cross-site"}),
        visitor.ask("PUT", "/queue"),
        visitor.post("/language", {"back": "/queue"}),
        visitor.post("/overview/check", headers={"Origin": "http://evil.example"}),
        visitor.ask("POST", "/overview/check", data=b"x" * 70_000),
        visitor.client.get("/", headers={"Host": HOST}),
    ]
    assert {answer.status_code for answer in answers} >= {200, 303, 403, 404, 405, 413, 421}
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    rules = dict(rule.split(" ", 1) for rule in HEADERS["Content-Security-Policy"].split("; "))
    for nobody in ("default-src", "frame-ancestors", "base-uri"):
        assert rules.pop(nobody) == "'none'", (
            "what names no source of its own, whoever frames it, what links lead to"
        )
    assert rules.pop("form-action") == "'self'"
    assert set(rules.values()) == {"'self'"}
    said = {
        "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }  # fmt: skip
    assert {name: HEADERS[name] for name in said} == said


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static/desk.css/../../app.py",
     "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/static/desk.css%00", "/case/../queue/x", "/static/",
     "/case/" + "g" * 64, "/case/" + "A" * 64, "//evil.example/"],
)  # fmt: skip
def test_no_path_leads_out(visitor, path):
    answer = visitor.get(path)
    assert answer.status_code == 404
    assert "import" not in answer.text
    assert "root:" not in answer.text


def test_a_body_is_bounded(visitor):
    assert visitor.post("/language", {"back": "/queue", "more": "x" * 60_000}).status_code == 303
    assert visitor.post("/language", {"back": "/queue", "more": "x" * 70_000}).status_code == 413
    many = visitor.ask("POST", "/language", data="form=" + visitor.gate.form + "&a=1" * 200,
                       content_type="multipart/form-data; boundary=x")  # fmt: skip
    assert many.status_code == 403  # no field of ours in it


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "/\\evil.example", "/queue\r\nX: y", "javascript:1"]
)
def test_the_language_leads_nowhere_else(visitor, back):
    own = visitor.post("/language", {"language": "zh", "back": "/queue?order=oldest&page=2"})
    assert own.headers["Location"] == f"{visitor.gate.root}/queue?order=oldest&page=2"
    assert "trustspace_desk_language=zh" in own.headers["Set-Cookie"]
    other = visitor.post("/language", {"language": "xx", "back": back})
    assert other.headers["Location"] == f"{visitor.gate.root}/queue"
    assert "trustspace_desk_language=en" in other.headers["Set-Cookie"]


def test_what_fails_inside_is_told_without_its_values(visitor, monkeypatch, caplog):
    def fail():
        raise RuntimeError("patient-00007 has value 12.5")

    monkeypatch.setattr(visitor.desk.unit, "show", fail)
    answer = visitor.get("/overview")
    assert answer.status_code == 500
    assert "patient-00007" not in answer.text
    assert "patient-00007" not in caplog.text
    assert "RuntimeError" in caplog.text
    assert "Something went wrong inside the desk" in plain(answer)


def test_closing_takes_a_form_of_ours(story):
    closed = []
    visitor = Visitor(story.hospital, "Dr Li", close=lambda: closed.append(True)).enter()
    assert visitor.ask("POST", "/close").status_code == 403
    assert visitor.post("/close").status_code == 200
    until(lambda: closed)
