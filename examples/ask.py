"""Serve what ``reviews.py`` published and ask it over HTTP, as any client would."""

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

SENTENCES = [
    "A funny, touching and beautifully acted film that earns every tear.",
    "Two hours of tedium with a plot that never comes together.",
    "It starts slowly, but the last half hour is simply superb.",
    "A handsome production that has nothing to say.",
]

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is on this machine


def main() -> None:
    token_file = Path(tempfile.mkdtemp()) / "token"
    command = [
        sys.executable,
        "-m",
        "lineshaft",
        "serve",
        "reviews@live",
        "--port",
        "0",
        "--token-file",
        str(token_file),
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            if not line:
                sys.exit("the server did not start; its message stands above")
            url = json.loads(line)["url"]
            token = token_file.read_text(encoding="utf-8").strip()
            print(f"\nasking {url}")
            status, answer = ask(url, token, [{"text": text} for text in SENTENCES])
            for text, found in zip(SENTENCES, answer["predictions"], strict=True):
                print(f"  {found['label']:7}{found['probabilities'][found['label']]:6.2f}  {text}")
            print(f"  by model {answer['model'][:12]}")
            for why, rows, used in [
                ("a number for a text", [{"text": 4}], token),
                ("a wrong token", [{"text": "x"}], "guess"),
            ]:
                status, answer = ask(url, used, rows)
                print(f"  {why}: {status} {answer['error']['message']}")
        finally:
            server.terminate()
    if server.returncode != 0:
        sys.exit(f"the server ended with {server.returncode}")


def ask(url: str, token: str, rows: list[dict]) -> tuple[int, dict]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/models/reviews/predict", json.dumps({"rows": rows}).encode(), headers)
    try:
        with DIRECT.open(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


if __name__ == "__main__":
    main()
