"""A headless Chromium, driven by its own protocol over two pipes: no port is opened and no driver is needed."""
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
         "--disable-sync", "--no-first-run", "--disable-extensions", "--mute-audio", "--remote-debugging-pipe", "--window-size=1280,1000"]
DEADLINE = 60.0


class Browser:
    def __init__(self):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        assert program, "no chromium: tests/run installs it"
        self.profile = tempfile.mkdtemp(prefix="weir-page-")
        to_read, self.to = os.pipe()
        self.out, from_write = os.pipe()
        # Chromium reads at 3 and writes at 4. Python keeps passed descriptors where they are, so they are moved there first, high
        # enough that neither is overwritten by the other.
        high = [os.dup(os.dup(os.dup(fd))) for fd in (to_read, from_write)]

        def place():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen([program, *FLAGS, f"--user-data-dir={self.profile}", "about:blank"], preexec_fn=place, close_fds=False,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for fd in (to_read, from_write, *high):
            os.close(fd)
        self.serial, self.rest, self.session, self.problems = 0, b"", None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        self.serial += 1
        message = {"id": self.serial, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + DEADLINE
        while True:
            heard = self.hear(until)
            if heard.get("id") == self.serial:
                assert "error" not in heard, f"{method}: {heard['error']}"
                return heard["result"]

    def hear(self, until):
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.out], [], [], max(0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            more = os.read(self.out, 1 << 20)
            assert more, "the browser has ended"
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(message["params"]["exceptionDetails"])[:600])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.problems.append(message["params"]["entry"]["text"] + " " + message["params"]["entry"].get("url", ""))
        return message

    def run(self, script):
        """The value of an expression in the page; a promise is awaited."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, f"{script}: {answer['exceptionDetails'].get('exception', answer['exceptionDetails'])}"
        return answer["result"].get("value")

    def go(self, url):
        self.ask("Page.navigate", url=url)

    def wait(self, what, script, seconds=DEADLINE):
        """Until the expression is true: looked at after each change of the document, so that nothing is asked in vain."""
        until = time.monotonic() + seconds
        changed = """new Promise((done) => { const see = new MutationObserver(() => { see.disconnect(); done(); });
            see.observe(document, {subtree: true, childList: true, characterData: true, attributes: true}); setTimeout(done, 500); })"""
        while True:
            try:
                value = self.run(script)
                if value:
                    return value
            except AssertionError:
                if time.monotonic() > until:
                    raise
            assert time.monotonic() < until, f"waited in vain for {what}: {script}\n{self.run('document.body.innerText')}\n{self.problems}"
            self.run(changed)

    def click(self, words, within="document"):
        """Press the button or link with exactly these words, as the keyboard would: it must be reachable and shown."""
        find = f"""(() => {{ const all = [...({within}).querySelectorAll('button, a')];
            return all.find((one) => (one.getAttribute('aria-label') ?? one.textContent).trim() === {json.dumps(words)} && one.checkVisibility()); }})()"""
        self.wait(f"a button {words!r}", f"Boolean({find})")
        self.run(f"(() => {{ const one = {find}; one.focus(); one.click(); }})()")

    def close(self):
        try:
            os.close(self.to)
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)
