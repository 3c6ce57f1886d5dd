"""The cases of the dashboard: page.py CASE --weir PROGRAM. Ends with 0 when the case holds."""
import argparse
import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

from browser import DEADLINE, Browser

POOL = """apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {{name: {name}}}
spec:
  {size}
  template: {{command: {command}, terminationGracePeriod: 2s}}
"""
FIXED = POOL.format(name="web", size="replicas: 2", command='[sh, -c, "echo hello from $WEIR_WORKER; exec sleep 1000"]')
QUEUE = POOL.format(name="jobs", size="scale: {minReplicas: 0, maxReplicas: 2}\n  queue: {delivery: Process, retry: {maxAttempts: 1}}",
                    command='[sh, -c, "echo title: $1; exec sleep $0", "$(payload.seconds)", "$(payload.title)"]')

GUARD = """apiVersion: weir.dev/v1
kind: ResourcePolicy
metadata: {name: guard}
spec:
  target: {unit: {name: weir-test-no-such.service}}
  mode: Enabled # for now
  bounds: {min: {cpu: 1, memory: 1Gi}, max: {cpu: 4, memory: 8Gi}}
"""


class Daemon:
    def __init__(self, weir):
        self.weir, self.root = weir, tempfile.TemporaryDirectory(prefix="weir-page-")
        self.specs, self.state = os.path.join(self.root.name, "specs"), os.path.join(self.root.name, "state")
        os.mkdir(self.specs)
        self.write("web.yaml", FIXED)
        self.write("jobs.yaml", QUEUE)
        self.port = 0
        self.start()

    def write(self, name, text):
        aside = os.path.join(self.root.name, "aside")
        with open(aside, "w") as file:
            file.write(text)
        os.rename(aside, os.path.join(self.specs, name))

    def start(self):
        log = open(os.path.join(self.root.name, "log"), "ab")
        self.process = subprocess.Popen([self.weir, "run", "--specs", self.specs, "--state", self.state, "--listen", f"127.0.0.1:{self.port}"],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until = time.monotonic() + DEADLINE
        while True:
            try:
                with open(os.path.join(self.state, "listen")) as file:
                    self.port = int(file.read().strip().rsplit(":", 1)[1])
                    break
            except (FileNotFoundError, IndexError):
                assert time.monotonic() < until and self.process.poll() is None, self.said()
                time.sleep(0.02)
        address, self.token = self.ctl("dashboard").strip().split("/#token=")
        assert address == self.url("").rstrip("/"), address

    def url(self, page="/"):
        return f"http://127.0.0.1:{self.port}{page}"

    def said(self):
        with open(os.path.join(self.root.name, "log"), errors="replace") as file:
            return file.read()

    def ctl(self, *words):
        ran = subprocess.run([os.path.join(os.path.dirname(self.weir), "ctl"), *words], env={**os.environ, "WEIR_STATE": self.state}, capture_output=True, text=True)
        assert ran.returncode == 0, f"ctl {words}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE) == 0, self.said()


ROW = "[...document.querySelectorAll('tr')].find((row) => row.dataset.key === {})"


def row(key):
    return ROW.format(json.dumps(key))


def cells(key):
    return f"[...{row(key)}.cells].map((cell) => cell.textContent.trim())"


def enter(browser, daemon, page="#/"):
    browser.go(daemon.url(f"/#token={daemon.token}"))
    browser.wait("the page to be live", "document.getElementById('link')?.textContent === 'live'")
    assert daemon.token not in browser.run("location.href"), "the token stays in the address"
    browser.run(f"location.hash = {json.dumps(page)}")


def size(browser, daemon):
    enter(browser, daemon)
    browser.wait("two ready workers", f"{cells('web')}[2] === '2'")
    browser.run("document.body.dataset.same = 'yes'")
    daemon.write("web.yaml", FIXED.replace("replicas: 2", "replicas: 5"))
    browser.wait("five, live", f"{cells('web')}[2] === '5' && {cells('web')}[3] === '5'")
    browser.click("web")
    browser.wait("the pool's page", "document.querySelector('h1').textContent.startsWith('web')")
    browser.wait("why so many", "document.body.innerText.includes('The number is fixed: spec.replicas is 5.')")
    browser.click("Scale…")
    browser.run("document.querySelector('dialog[open] input').value = '1'")
    browser.click("Scale", "document.querySelector('dialog[open]')")
    browser.wait("one worker", f"[...document.querySelectorAll('dd')][0].textContent === '1 of 1'")
    assert "replicas: 1" in open(os.path.join(daemon.specs, "web.yaml")).read(), "the file is what was changed"
    browser.run("location.hash = '#/pool/jobs'")
    browser.wait("the signals of a scaled pool", "[...document.querySelectorAll('table')].some((table) => table.getAttribute('aria-label') === 'Signals')")
    browser.wait("the decision", "document.body.innerText.includes('Decided: 0')")
    assert browser.run("document.body.dataset.same") == "yes", "the page was loaded anew"


def past(browser, daemon):
    """What the events tell of the time before the page was opened: each size, and none that is not known."""
    browser.go(daemon.url(f"/#token={daemon.token}"))
    browser.wait("the page to be live", "document.getElementById('link')?.textContent === 'live'")
    for size in (5, 0, 3, 1):
        daemon.ctl("scale", "pool/web", "--replicas", str(size))
        browser.wait(f"size {size}", f"{cells('web')}[3] === '{size}'")
    browser.ask("Page.reload")
    sizes = "import('/web/store.js').then(({history}) => (history.get('web') ?? []).filter((point) => point.told).map((point) => point.wanted))"
    browser.wait("all sizes", f"{sizes}.then((all) => JSON.stringify(all) === '[0,2,2,5,5,0,0,3,3,1]')")
    drawn = browser.run("""import('/web/charts.js').then(({chart}) => { const now = Date.now(), of = (ago, n) => ({time: now - ago, n});
        const shape = chart('x', [of(100000, null), of(75000, 4), of(50000, null), of(25000, 2)], 'n').querySelector('.area').getAttribute('d');
        return shape.match(/[MHZ][0-9.]*/g).map((part) => part[0] + (part === 'Z' ? '' : Math.round(part.slice(1)))).join(' '); })""")
    assert drawn == "M150 H300 H150 Z M450 H600 H450 Z", drawn


def submit(browser, payload):
    browser.click("Submit a task…")
    browser.run(f"document.querySelector('dialog[open] textarea').value = {json.dumps(json.dumps(payload))}")
    browser.click("Submit", "document.querySelector('dialog[open]')")


def tasks(browser, daemon):
    enter(browser, daemon, "#/pool/jobs")
    submit(browser, {"seconds": "1000", "title": "long"})
    browser.wait("it runs", f"{cells('task-1')}[2] === 'Running'")
    submit(browser, {"seconds": "0", "title": "short"})
    browser.wait("the second is done", f"{cells('task-2')}[2] === 'Succeeded'")
    browser.click("Cancel task 1")
    browser.click("Cancel the task", "document.querySelector('dialog[open]')")
    browser.wait("it is cancelled", f"{cells('task-1')}[2] === 'Cancelled'")
    browser.click("Pause the queue")
    browser.click("Resume the queue")
    submit(browser, {"seconds": "nonsense", "title": "bad"})
    browser.wait("it failed", f"['Failed', 'Dead'].includes({cells('task-3')}[2])")
    browser.click("Retry task 3")
    browser.wait("it was tried again", f"{cells('task-3')}[7].startsWith('2/') || {cells('task-3')}[7].startsWith('1/')")
    browser.click("Log of task 2")
    browser.wait("its output", "document.querySelector('dialog[open] pre').textContent.includes('title: short')")
    browser.click("Close", "document.querySelector('dialog[open]')")
    submit_bad = "{not json"
    browser.click("Submit a task…")
    browser.run(f"document.querySelector('dialog[open] textarea').value = {json.dumps(submit_bad)}")
    browser.click("Submit", "document.querySelector('dialog[open]')")
    browser.wait("what is wrong", "document.getElementById('toast').textContent.includes('not JSON')")


    browser.run("location.hash = '#/tasks'")
    browser.wait("all tasks", f"Boolean({row('task-1')} && {row('task-2')} && {row('task-3')})")
    browser.run("(() => { const state = document.querySelector('[aria-label=\"State of the tasks\"]'); state.value = 'Cancelled'; state.dispatchEvent(new Event('change')); })()")
    browser.wait("one of them", f"Boolean({row('task-1')}) && !{row('task-2')} && !{row('task-3')}")
    cut = browser.run("""import('/web/store.js').then(({chosen, TASKS_MAX}) => { chosen.tasks = Array(TASKS_MAX).fill(chosen.tasks[0]).map((task, n) => ({...task, id: n}));
        return import('/web/views.js'); }).then(({tasks}) => tasks()[1].querySelector('.soft').textContent)""")
    assert cut.startswith("200 of more than 500 are shown"), cut


BAD = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: bad}\nspec: {replicass: 1}\n"


def told(browser, daemon):
    """What is beside the tables and in their words: documents that are refused, a queue that rests, whose events and output these are."""
    daemon.write("api.yaml", POOL.format(name="web-api", size="replicas: 1", command='[sleep, "1000"]'))
    daemon.write("bad.yaml", BAD)
    enter(browser, daemon)
    browser.wait("what is refused", "document.querySelector('[data-key=refused]')?.textContent.includes('(bad)')")
    daemon.write("bad.yaml", POOL.format(name="bad", size="replicas: 0", command="[sleep]"))
    browser.wait("that it is mended", "!document.querySelector('[data-key=refused]')")
    abouts = "[...document.querySelectorAll('table[aria-label=Events] tbody tr')].map((row) => row.cells[3].textContent)"
    for pool, worker in (("web-api", True), ("web", False)):
        browser.run(f"location.hash = '#/pool/{pool}'")
        browser.wait("events", f"document.querySelector('h1').textContent.startsWith('{pool} ') && {abouts}.includes('pool/{pool}')")
        assert browser.run(f"{abouts}.includes('worker/web-api-0')") is worker, pool
    browser.run("location.hash = '#/'")
    daemon.ctl("pause", "queue/jobs")
    browser.wait("that it rests", f"{cells('jobs')}[6] === 'Paused'")
    assert "Paused" in daemon.ctl("get", "pool/jobs"), "another word than on the page"
    daemon.ctl("resume", "queue/jobs")
    browser.wait("that it goes on", f"{cells('jobs')}[6] !== 'Paused'")
    daemon.ctl("submit", "jobs", "--wait", "--", json.dumps({"seconds": "0", "title": "x"}))
    browser.run("location.hash = '#/pool/jobs'")
    browser.wait("how long the next one waits", "[...document.querySelectorAll('dt')].find((term) => term.textContent === 'Wait for the next').nextSibling.textContent !== '–'")
    daemon.ctl("submit", "jobs", "--", json.dumps({"seconds": "1000", "title": "x"}))
    browser.click("Log of jobs-0")
    browser.wait("where its output is", "document.querySelector('dialog[open]').textContent.includes('its output is with the task')")


def workers(browser, daemon):
    enter(browser, daemon, "#/workers")
    browser.wait("a worker", f"Boolean({row('web-0')})")
    browser.click("Log of web-0")
    browser.wait("its first line", "document.querySelector('dialog[open] pre').textContent.includes('hello from web-0')")
    # As fast as a script can: the next dialog is opened before the browser has told that the last one was closed.
    browser.run("document.querySelector('dialog[open] button').click(); document.querySelector('[aria-label=\"Restart web-0\"]').click()")
    before = browser.run(f"{cells('web-0')}[3]")
    browser.click("Restart", "document.querySelector('dialog[open]')")
    browser.wait("another pid", f"/^[0-9]+$/.test({cells('web-0')}[3]) && {cells('web-0')}[3] !== {json.dumps(before)}")


# What the daemon would answer about a target that has been looked at for an hour.
KNOWN = """(() => { const real = window.fetch, now = Date.now(), at = (minutes) => new Date(now + minutes * 60000).toISOString();
    const samples = [...Array(60).keys()].map((n) => ({usage: {time: at(n - 60), cpuCores: 1 + n / 60, memoryBytes: n === 30 ? undefined : 2 ** 30 + n}, limits: {cpu: "2500m", memory: "2Gi"}}));
    const path = [5, 10].map((minutes) => ({at: at(minutes), value: 2 + minutes / 10, low: 2, high: 2 + minutes / 5}));
    const answers = {metrics: {items: samples}, forecast: {summary: "cpu 3 cores in 10m", cpu: {path}}, history: {items: [
        {time: at(-9), action: "Raise", trigger: "Cpu", reason: "<b>above 85 %</b>", old: {cpu: "2"}, new: {cpu: "2500m"}, status: "Applied"}]}};
    window.fetch = (path, options) => { const what = /^.v1.policies.guard.([a-z]+)/.exec(path)?.[1];
        return what && !options?.method ? Promise.resolve(new Response(JSON.stringify(answers[what]))) : real(path, options); }; })()"""


def policies(browser, daemon):
    daemon.write("guard.yaml", GUARD)
    enter(browser, daemon, "#/policies")
    browser.wait("the policy", f"Boolean({row('guard')})")
    browser.run("(() => { const mode = document.querySelector('[aria-label=\"Mode of guard\"]'); mode.value = 'Disabled'; mode.dispatchEvent(new Event('change')); })()")
    browser.wait("its new mode", "document.getElementById('toast').textContent.includes('guard: mode Disabled')")
    assert "mode: Disabled # for now" in open(os.path.join(daemon.specs, "guard.yaml")).read(), "the file is what was changed"
    browser.run(KNOWN)
    browser.click("guard")
    browser.wait("its charts", "document.querySelectorAll('svg.chart').length === 2")
    browser.wait("what is expected", "document.querySelector('svg.chart path.expected')?.getAttribute('d').length > 20")
    said = browser.run("[...document.querySelectorAll('svg.chart')].map((chart) => chart.getAttribute('aria-label'))")
    assert said[0] == "CPU: now 1.98 cores, limit 2.5 cores, expected 3 cores (2 cores to 4 cores)", said
    assert said[1] == "Memory: now 1 GiB, limit 2 GiB, nothing expected", said
    drawn = browser.run("[...document.querySelectorAll('svg.chart path')].map((path) => path.getAttribute('d')).join()")
    assert "NaN" not in drawn and "undefined" not in drawn, drawn
    browser.wait("its changes", "document.body.innerText.includes('<b>above 85 %</b>')")


HOSTILE = ["<img src=x onerror=\"document.title='owned'\">", "</td><script>document.title='owned'</script>", "javascript:document.title='owned'",
           "\u202eevil", "&lt;b&gt;", "${document.title='owned'}", "'\"`><svg onload=document.title='owned'>"]


def hostile(browser, daemon):
    for title in HOSTILE:
        daemon.ctl("submit", "jobs", "--", json.dumps({"seconds": "0", "title": title}))
    enter(browser, daemon, "#/tasks")
    browser.wait("all of them", f"document.querySelectorAll('tr[data-key^=task-]').length === {len(HOSTILE)}")
    shown = browser.run("[...document.querySelectorAll('tr[data-key^=task-]')].map((row) => row.cells[5].textContent)")
    assert len(shown) == len(HOSTILE) and any("onerror" in text for text in shown), shown
    assert any("\\u{202e}evil" in text for text in shown) and not any("\u202e" in text for text in shown), shown
    assert browser.run("document.querySelectorAll('main img, main script, main svg[onload]').length") == 0
    assert "owned" not in browser.run("document.title")
    assert browser.run("fetch('https://example.org/').then(() => 'let out', () => 'kept in')") == "kept in"
    browser.problems.clear()


def reconnect(browser, daemon):
    enter(browser, daemon)
    browser.wait("two ready workers", f"{cells('web')}[2] === '2'")
    daemon.end()
    browser.wait("it is away", "document.getElementById('link').textContent === 'reconnecting'")
    daemon.write("web.yaml", FIXED.replace("replicas: 2", "replicas: 3"))
    daemon.start()
    browser.wait("it is back", f"document.getElementById('link').textContent === 'live' && {cells('web')}[2] === '3'")
    browser.problems.clear()


def token(browser, daemon):
    browser.go(daemon.url("/#token=wrong"))
    browser.wait("to be asked", "Boolean(document.querySelector('dialog[open]')) && document.getElementById('link').textContent === 'not let in'")
    assert browser.run("document.querySelectorAll('tr[data-key]').length") == 0
    browser.run(f"document.querySelector('dialog[open] input').value = {json.dumps(daemon.token)}")
    browser.click("Go on", "document.querySelector('dialog[open]')")
    browser.wait("the pools", f"Boolean({row('web')})")
    browser.problems.clear()


CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => { for (let n = node; n; n = n.parentElement) { const c = rgb(getComputedStyle(n).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255]; };
  const faint = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.className === 'skip' || node.namespaceURI.includes('svg')) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.push(`${node.tagName}.${node.className} ${node.textContent.slice(0, 30)} ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return faint;
})()"""
ROLES = {"button", "link", "textbox", "combobox", "table", "img", "progressbar", "meter", "columnheader", "dialog"}


def access(browser, daemon):
    daemon.ctl("submit", "jobs", "--", json.dumps({"seconds": "1000", "title": "x"}))
    daemon.write("guard.yaml", GUARD)
    for scheme in ("light", "dark"):
        browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for page in ("#/", "#/pool/web", "#/pool/jobs", "#/tasks", "#/workers", "#/policies", "#/policy/guard", "#/events"):
            enter(browser, daemon, page)
            browser.wait("content", "document.querySelectorAll('main section').length > 0")
            faint = browser.run(CONTRAST)
            assert faint == [], f"{scheme} {page}: {faint}"
            nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
            value = lambda node, what: node.get(what, {}).get("value")
            silent = [value(node, "role") for node in nodes if not node.get("ignored") and value(node, "role") in ROLES - {"columnheader"} and not value(node, "name")]
            assert silent == [], f"{page}: without a name: {silent}"
    # By keyboard alone: the first stop leads past the menu, the next ones are the pages.
    enter(browser, daemon)
    browser.run("document.activeElement.blur()")
    stops = []
    for _ in range(8):
        for kind in ("rawKeyDown", "keyUp"):
            browser.ask("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        stops.append(browser.run("document.activeElement.textContent"))
    assert {"Skip to content", "Pools"} <= set(stops), stops
    wide = browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, "the page scrolls sideways"
    browser.ask("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    browser.wait("a small screen without sideways scrolling", "document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def stranger(browser, daemon):
    """A page of another origin, by all the ways that need no leave: a form, an image, fetches with and without a token, a frame."""
    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>other</title>")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser.go(f"http://127.0.0.1:{server.server_port}/")
    browser.wait("the other site", "document.title === 'other'")
    pool = daemon.url("/v1/pools/jobs/tasks")
    got = browser.run(f"""(async () => {{
        const tries = [], token = {json.dumps(daemon.token)}, url = {json.dumps(pool)};
        for (const mode of ['cors', 'no-cors']) for (const method of ['GET', 'POST']) for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json'])
            for (const headers of [{{}}, {{Authorization: 'Bearer ' + token}}]) {{
                try {{
                    const body = method === 'POST' ? '{{"payload": {{"seconds": "0", "title": "stolen"}}}}' : undefined;
                    const answer = await fetch(url, {{method, mode, body, headers: {{'Content-Type': type, ...headers}}}});
                    if (answer.type !== 'opaque') tries.push(`${{mode}} ${{method}} ${{type}}: ${{answer.status}} ${{(await answer.text()).slice(0, 80)}}`);
                }} catch {{ /* Not let through: as it should be. */ }}
            }}
        return tries;
    }})()""")
    assert got == [], got
    browser.run(f"""(() => {{ const form = document.createElement('form'); form.action = {json.dumps(pool)}; form.method = 'post'; form.enctype = 'text/plain'; form.target = 'f';
        const field = document.createElement('input'); field.name = '{{"payload":{{"seconds":"0","title":"x'; field.value = '"}}}}'; form.append(field);
        const frame = document.createElement('iframe'); frame.name = 'f'; document.body.append(frame, form); form.submit(); }})()""")
    frame = browser.run(f"""new Promise((done) => {{ const frame = document.createElement('iframe'); frame.src = {json.dumps(daemon.url('/'))};
        frame.onload = () => {{ try {{ done(frame.contentDocument?.title ?? 'closed'); }} catch (error) {{ done('closed'); }} }}; document.body.append(frame); }})""")
    assert frame != "weir", "the page lets itself be framed"
    assert json.loads(daemon.ctl("get", "tasks", "-o", "json"))["items"] == [], "a stranger's page submitted a task"
    server.shutdown()
    browser.problems.clear()


CASES = {case.__name__: case for case in (size, past, tasks, told, workers, policies, hostile, reconnect, token, access, stranger)}


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("case", choices=CASES)
    flags.add_argument("--weir", required=True)
    flags.add_argument("--picture", help="where to keep a picture of the page at the end")
    given = flags.parse_args()
    daemon = Daemon(given.weir)
    try:
        browser = Browser()
        try:
            CASES[given.case](browser, daemon)
            if given.picture:
                import base64
                with open(given.picture, "wb") as file:
                    file.write(base64.b64decode(browser.ask("Page.captureScreenshot")["data"]))
            assert browser.problems == [], browser.problems
        finally:
            browser.close()
    finally:
        if daemon.process.poll() is None:
            daemon.end()
    print(f"{given.case}: holds")


if __name__ == "__main__":
    sys.exit(main())
