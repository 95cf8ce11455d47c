"""Opens the page of live change in Debian's Chromium, and uses it as an operator does.

    page.py ADMIN-URL TOKEN [DIR]

The terminator has the toggle `new` and a running rollout of `s`. Writes screenshots into DIR. Prints one JSON object:
what the page showed, before and after clicks, and every error of its console.
"""
import json
import pathlib
import sys

from playwright.sync_api import expect, sync_playwright

url, token = sys.argv[1:3]
folder = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
PATIENCE_MS = 60_000
errors, foreign, said = [], [], {}

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith((url, "data:")) else None)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{url}/change")

    toggle, rollout = page.locator("[data-toggle=new]"), page.locator("[data-service=s]")
    expect(toggle).to_contain_text("turn off")
    expect(rollout.locator(".tag")).to_have_text("running")
    expect(rollout.locator("svg")).to_have_count(3)
    expect(rollout.locator("svg polyline.candidate").first).to_be_attached()
    said["pause_without_token"] = rollout.get_by_role("button", name="pause").is_enabled()

    page.fill("#who", "ann")
    page.fill("#token", "wrong")
    rollout.get_by_role("button", name="pause").click()
    expect(page.locator("#notice")).to_contain_text("write token")
    said["wrong_token"] = page.locator("#notice").inner_text()
    # The browser's own line about the status is no fault of the page.
    errors[:] = [error for error in errors if "401" not in error]

    page.fill("#token", token)
    rollout.get_by_role("button", name="pause").click()
    expect(rollout.locator(".tag")).to_have_text("paused")
    rollout.get_by_role("button", name="resume").click()
    expect(rollout.locator(".tag")).to_have_text("running")
    toggle.get_by_role("button").click()
    expect(toggle).to_contain_text("turn on")
    rollout.locator("summary").click()
    said["history"] = rollout.locator("details").inner_text()

    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for name, width in (("wide", 1280), ("narrow", 390)):
            page.set_viewport_size({"width": width, "height": 900})
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            said[f"overflow_{name}"] = overflow
            if folder:
                page.screenshot(path=folder / f"{theme}-{name}.png", full_page=True)

    rollout.get_by_role("button", name="abort").click()
    expect(rollout.locator(".tag")).to_have_text("aborted")
    browser.close()

print(json.dumps({**said, "errors": errors, "foreign": foreign}))
