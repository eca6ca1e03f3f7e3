"""A real JupyterLab driven by headless Chromium, with the internet cut off."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from functools import partial

import pytest

CELLS = "window.jupyterapp.shell.currentWidget.content.model.cells"
DONE = f"""() => {{
  const cells = {CELLS};
  for (let i = 0; i < cells.length; i++) {{
    const cell = cells.get(i);
    if (cell.type !== 'code') continue;
    for (let j = 0; j < cell.outputs.length; j++) {{
      if (cell.outputs.get(j).type === 'error') return true;
    }}
    if (cell.executionCount === null) return false;
  }}
  const context = window.jupyterapp.shell.currentWidget.context;
  return context.sessionContext.session.kernel.status === 'idle';
}}"""
ERRORS = f"""() => {{
  const cells = {CELLS}, found = [];
  for (let i = 0; i < cells.length; i++) {{
    const outputs = cells.get(i).outputs;
    for (let j = 0; j < (outputs?.length ?? 0); j++) {{
      const o = outputs.get(j).toJSON();
      if (o.output_type === 'error') found.push(`${{i}}: ${{o.ename}}: ${{o.evalue}}`);
    }}
  }}
  return found;
}}"""
#: Runs code in the kernel beside the notebook, and returns what it printed.
ASK = """async (code) => {
  const context = window.jupyterapp.shell.currentWidget.context;
  const kernel = context.sessionContext.session.kernel;
  let text = "";
  const future = kernel.requestExecute({ code, store_history: false });
  future.onIOPub = (m) => {
    if (m.header.msg_type === "stream") text += m.content.text;
    if (m.header.msg_type === "error") text += `${m.content.ename}`;
  };
  await future.done;
  return text.trim();
}"""
READY = """name => {
  const context = window.jupyterapp?.shell?.currentWidget?.context;
  return context?.path === name
    && context.sessionContext?.session?.kernel?.status === 'idle';
}"""
#: Closes what is open, ends its kernels, and opens a notebook: no script loads again.
OPEN = """async (path) => {
  const app = window.jupyterapp;
  for (const widget of [...app.shell.widgets('main')]) widget.dispose();
  await app.serviceManager.sessions.shutdownAll();
  await app.commands.execute('docmanager:open', { path, factory: 'Notebook' });
}"""
#: No address but that of JupyterLab leads anywhere. (To intercept requests would switch
#: off the cache, and each page then compiles all scripts anew.)
OFFLINE = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",)
#: Widgets are saved with the notebook: File, Save; as a user would switch it on.
SETTINGS = {"@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True}}


def _chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for n in names if (path := shutil.which(n))), None)


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright drives the browser: not installed"
    )
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    executable = _chromium()
    if executable is None:
        pytest.skip("no Chromium on this machine: panels are not tried in a browser")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-dev-shm-usage", *OFFLINE],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def context(lab, browser):
    """Return a browser whose page stays for the next notebook: its scripts are run."""
    url, _ = lab
    context = browser.new_context(viewport={"width": 1280, "height": 1500})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    yield context
    context.close()


def _seldom(page):
    """Let a page look at what it waits for ten times a second, not at each picture."""
    often = page.wait_for_function
    page.wait_for_function = partial(often, polling=100)
    return page


@pytest.fixture(scope="session")
def lab(browser, tmp_path_factory, forked_kernels):
    """Start one JupyterLab with a private configuration; yield its URL and folder."""
    root = tmp_path_factory.mktemp("lab-root")
    home = tmp_path_factory.mktemp("lab-home")
    page_config = home / "config/labconfig/page_config.json"
    page_config.parent.mkdir(parents=True)
    news = {"@jupyterlab/apputils-extension:announcements": True}
    page_config.write_text(json.dumps({"disabledExtensions": news}))
    for plugin, settings in SETTINGS.items():
        package, name = plugin.split(":")
        file = home / "settings" / package / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = os.environ | {k: str(home / v) for k, v in folders.items()}
    environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PATH": str(forked_kernels)}
    url = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *("--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"),
        *(f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True"),
        *(
            "--LabApp.extension_manager=readonly",
            "--LanguageServerManager.autodetect=0",
        ),
    ]
    log = home / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(f"{url}/api/status", log)
        yield url, root
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(address, log):
    for _ in range(400):
        try:
            urllib.request.urlopen(address, timeout=1)
        except OSError:
            time.sleep(0.25)
        else:
            return
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture
def notebook(lab, context, tmp_path):
    """Return ``run(*cells, dark=False) -> page``: executed, live and offline."""
    nbformat = pytest.importorskip("nbformat")
    url, root = lab
    strange, listening = [], []

    def watch(request):
        if request.url.startswith("http") and not request.url.startswith(url):
            strange.append(request.url)

    def run(*cells, dark=False, timeout=180):
        name = f"panel_{time.time_ns()}.ipynb"
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(book, root / name)
        there = bool(context.pages)
        page = context.pages[0] if there else _seldom(context.new_page())
        page.js_errors, page.blocked, page.file = [], strange, root / name
        listens = {
            "request": watch,
            "pageerror": lambda error: page.js_errors.append(str(error)),
        }
        for event, heard in listens.items():
            page.on(event, heard)
        listening.append((page, listens))
        page.address = f"{url}/doc/tree/{name}?reset"
        if there:
            page.evaluate(OPEN, name)
        else:
            page.goto(page.address, wait_until="domcontentloaded")
        page.wait_for_function(READY, arg=name, timeout=90_000)
        theme = f"JupyterLab {'Dark' if dark else 'Light'}"
        page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })",
            theme,
        )
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(DONE, timeout=timeout * 1000)
        assert page.evaluate(ERRORS) == []
        page.ask = lambda code: page.evaluate(ASK, code)
        return page

    yield run
    for page, listens in listening:
        page.screenshot(path=tmp_path / "page.png")
        for event, heard in listens.items():
            page.remove_listener(event, heard)


@pytest.fixture
def drag():
    """Return ``drag(page, start, end)``: press, move and release the mouse."""

    def move(page, start, end, steps=12):
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=steps)
        page.mouse.up()

    return move


@pytest.fixture
def healthy():
    """Return a check that no script failed and nothing was asked of the internet."""

    def check(page):
        assert page.js_errors == []
        assert page.get_by_text("Click to show javascript error").count() == 0
        assert page.get_by_text("Error displaying widget").count() == 0
        assert page.blocked == []

    return check


#: Gives a panel work of half a minute.
SLOW = """
import time
from batteryxr.core.progress import track
from batteryxr.widgets.models.base import Plan
def slow():
    for _ in track(range(600), "Counting"):
        time.sleep(0.05)
panel_.model.plan = lambda: Plan(slow)
panel_.model.refresh(delay=0.0)
"""
#: Lightness of the panel's paper and of its words, 0 to 255.
LIGHTNESS = """() => ['backgroundColor', 'color'].map(key => {
  const colour = getComputedStyle(document.querySelector('.bx-panel'))[key];
  return Math.max(...colour.match(/[0-9.]+/g).slice(0, 3).map(Number));
})"""


@pytest.fixture
def foot():
    """Return a check of what is under every panel: code to copy, progress, stop."""

    def check(page, name="panel"):
        for button, what in (("Copy code", "code"), ("Copy panel", "model.reopen")):
            page.get_by_role("button", name=button).click()
            page.get_by_role("button", name="copied").first.wait_for()
            copied = page.evaluate("navigator.clipboard.readText()")
            assert copied == page.ask(f"print({name}.{what})")
        page.ask(f"panel_ = {name}" + SLOW)
        word = page.locator(".bx-word")
        page.wait_for_function(
            "() => /Counting/.test(document.querySelector('.bx-word').textContent)"
        )
        assert page.ask("print(6 * 7)") == "42"  # nobody waits for the panel
        page.locator(".bx-stop").click()
        page.wait_for_function(
            "() => /^stopped/.test(document.querySelector('.bx-word').textContent)"
        )
        page.ask("del panel_.model.plan; panel_.model.refresh(); panel_.result")
        page.wait_for_function(
            "() => document.querySelector('.bx-word').textContent === 'up to date'"
        )
        assert "up to date" in word.inner_text()

    return check


@pytest.fixture
def readable():
    """Return a check that the words of a panel stand out from its paper."""

    def check(page, *, dark):
        paper, words = page.evaluate(LIGHTNESS)
        assert (paper < 80 and words > 150) if dark else (paper > 200 and words < 100)

    return check


@pytest.fixture
def reopened():
    """Return ``again(page)``: saved, its kernel shut down, and opened once more."""

    def again(page):
        page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        page.wait_for_function(
            "() => !window.jupyterapp.shell.currentWidget.context.model.dirty"
        )
        page.evaluate("window.jupyterapp.commands.execute('notebook:shutdown-kernel')")
        page.wait_for_timeout(500)
        for _ in range(3):
            page.evaluate(OPEN, page.file.name)
            drawn = page.locator(".bx-code, :text('Error displaying widget')").first
            drawn.wait_for(timeout=60_000)
            page.wait_for_timeout(500)
            # While a new kernel starts JupyterLab may draw before it has read the
            # notebook's widgets: as a user, open it again.
            if page.locator(".bx-code").count():
                return

    return again
