"""Opens pages of `flashback generate --trace` in a headless Chromium and uses them: with a pointer, with the keyboard, with a screen
reader's eyes. Their numbers are those of --json.

trace_page.py FLASHBACK_TOOL
trace_page.py --picture PAGE PNG    only makes a picture; examples/trace.png shows the build/reuse.html of the quickstart

Debian: chromium, chromium-driver, python3-selenium
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

CORPUS = [
    {"_id": "compiler", "title": "compiler", "text": "A program that translates a source program into machine code."},
    {"_id": "</script><script>alert(1)</script>", "title": "<img src=x onerror=alert(1)>", "text": "A kernel shares the memory among programs."},
    {"_id": "unix", "title": "Unix", "text": "An operating system developed at Bell Labs. It is written in C."},
]
PROMPT = "A kernel </script><b> is the part of an operating system that"
RUNS = {
    "append": ["--layout", "append", "--markers", "on"],
    "aside": ["--layout", "aside", "--passages", "2"],
    "sticky": ["--layout", "sticky", "--passages", "3", "--stride", "5"],
    "prepend": ["--layout", "prepend", "--overflow", "drop-oldest", "--max-tokens", "600"],
    "full": ["--layout", "append", "--overflow", "stop", "--stride", "1", "--max-tokens", "600"],
    "flare": ["--layout", "append", "--schedule", "flare"],
    "mean": ["--layout", "append", "--passages", "2", "--fusion", "mean", "--markers", "on"],
    "none": ["--layout", "none"],
}


def check(condition, *words):
    if not condition:
        raise SystemExit("trace_page: " + " ".join(str(word) for word in words))


def equal(found, expected, what):
    check(found == expected, what, "is", repr(found) + ", expected", repr(expected))


def browser(folder, *options):
    chosen = webdriver.ChromeOptions()
    chosen.binary_location = "/usr/bin/chromium"
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1280,1200",
                   f"--user-data-dir={folder}/profile", *options):
        chosen.add_argument(option)
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=chosen)


class Page:
    def __init__(self, driver, path, name):
        self.driver = driver
        self.name = name
        driver.get_log("performance")
        driver.get("file://" + str(path))

    def run(self, script, *arguments):
        return self.driver.execute_script("return " + script, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def number(self, name):
        return int(self.find("#n-" + name).get_attribute("data-value"))

    def live(self):
        self.driver.execute_async_script("setTimeout(arguments[0], 250)")
        return self.run("document.getElementById('live').textContent")

    def painted(self, selector):
        """How many colours a canvas has."""
        return self.run("""(() => { const c = document.querySelector(arguments[0]);
            const copy = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
            copy.canvas.width = c.width; copy.canvas.height = c.height; copy.drawImage(c, 0, 0);
            const d = new Uint32Array(copy.getImageData(0, 0, c.width, c.height).data.buffer);
            return new Set(d).size; })()""", selector)

    def check_quiet(self):
        """Nothing on the console, and nothing but the page was asked for."""
        log = self.driver.get_log("browser")
        check(not log, self.name, "wrote to the console:", log)
        asked = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [message["params"]["request"]["url"] for message in asked if message["method"] == "Network.requestWillBeSent"]
        others = [url for url in urls if not url.startswith(("chrome:", "data:")) and not url.endswith(f"/{self.name}.html")]
        check(not others, self.name, "asked for", others)
        check(not self.run("document.querySelectorAll('img, iframe, link').length"), self.name, "has elements that are not its own")

    def check_numbers(self, told):
        stats = told["stats"]
        for name in ("evaluated", "reused", "requested", "retrievals"):
            equal(self.number(name), stats[name], f"{self.name}: {name}")
        for phase in ("retrieve", "prefill", "decode"):
            found = float(self.find("#n-seconds").get_attribute("data-" + phase))
            check(abs(found - stats["seconds"][phase]) <= 1e-9 + 1e-6 * found, self.name, phase, found, stats["seconds"][phase])
        check(self.number("recompute") >= stats["evaluated"], self.name, "recomputes less than it evaluates")

        self.find("#table summary").click()
        self.driver.execute_async_script("setTimeout(arguments[0], 50)")
        cells = self.run("[...document.querySelectorAll('#table tbody tr')].map(r => [...r.children].map(c => c.textContent))")
        names = self.run("[...document.querySelectorAll('#table th[scope=col]')].map(c => c.textContent)")
        rows = [dict(zip(names, row)) for row in cells]
        searched = [row for row, plan in zip(rows, self.run("trace.plans")) if plan["retrieval"] is not None]
        equal(len(searched), len(told["retrieved"]), f"{self.name}: rows of retrievals")
        for row, retrieval in zip(searched, told["retrieved"]):
            equal(int(row["at token"]), retrieval["at"], f"{self.name}: at token")
            for name in ("evaluated", "reused", "discarded"):
                equal(int(row[name]), retrieval[name], f"{self.name}: {name} of a retrieval")
            found = retrieval.get("passages") or [retrieval]
            for passage in found:
                if passage["id"] is not None:
                    check(passage["id"] in row["passages and scores"], self.name, "does not name the passage", passage["id"])
                    check(f"{passage['score']:.3f}"[:4] in row["passages and scores"], self.name, "does not have the score", passage["score"], row)
        self.find("#table summary").click()

    def check_slider(self, told):
        slider = self.find("#step")
        self.run("document.getElementById('step').focus()")
        last = int(slider.get_attribute("max"))
        equal(int(slider.get_attribute("value")), last, f"{self.name}: the step at first")
        whole = self.run("document.getElementById('text').textContent")
        slider.send_keys(Keys.HOME)
        equal(int(slider.get_attribute("value")), 0, f"{self.name}: the step after Home")
        plans = self.run("trace.plans")
        equal(self.number("evaluated"), plans[0]["counts"]["evaluated"], f"{self.name}: evaluated at the first step")
        self.live()
        equal(self.run("document.querySelectorAll('.row').length"), 1, f"{self.name}: rows at the first step")
        check("plan 1" in slider.get_attribute("aria-valuetext"), slider.get_attribute("aria-valuetext"))
        check(self.live().startswith("Step 0"), self.name, "says", self.live())
        slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        equal(int(slider.get_attribute("value")), 3, f"{self.name}: the step after three arrows")
        if plans[0]["written"][1] > 3:  # of three tokens two were evaluated
            equal(self.number("evaluated"), plans[0]["counts"]["evaluated"] + 2 * len(plans[0]["contexts"]), f"{self.name}: evaluated at step 3")
        check(self.live().startswith("Step 3"), self.name, "says", self.live())
        check(self.run("document.getElementById('text').textContent") != whole, self.name, "has the whole text at step 3")
        slider.send_keys(Keys.END)
        equal(self.number("evaluated"), told["stats"]["evaluated"], f"{self.name}: evaluated at the end")

        button = self.find("#play")
        button.click()
        equal(button.text, "Stop", f"{self.name}: the button while it replays")
        early = int(slider.get_attribute("value"))
        check(early < last, self.name, "replays from", early, "of", last)
        self.driver.execute_async_script("setTimeout(arguments[0], 700)")
        check(early < int(slider.get_attribute("value")), self.name, "stands still while it replays")
        if button.text == "Stop":
            button.click()
        slider.send_keys(Keys.END)

    def check_tokens(self):
        """A pointer and the keyboard find the same tokens, and they are those of the trace."""
        plans, pieces, tokens = self.run("trace.plans"), self.run("trace.pieces"), self.run("trace.tokens")
        strips = self.find("#strips")
        self.run("document.getElementById('strips').scrollTo(0, 0)")
        self.live()  # rows are made anew
        strip = self.find(".row[data-row='0'] canvas")
        check(self.painted(".row canvas") > 4, self.name, "has strips of", self.painted(".row canvas"), "colours")
        check(self.painted("#chart") > 4, self.name, "has a chart of", self.painted("#chart"), "colours")
        ActionChains(self.driver).move_to_element_with_offset(strip, -strip.size["width"] // 2 + 9, -strip.size["height"] // 2 + 16).perform()
        tip = self.run("document.getElementById('tip').textContent")
        spans = [begin + i for _, begin, count in plans[0]["contexts"][0]["spans"] for i in range(count)]
        branch = "branch 1, " if len(plans[0]["contexts"]) > 1 else ""
        size = len(spans) + plans[0]["written"][1]
        at = re.match(branch + r"position (\d+) of %d: " % size, tip)
        check(at and int(at[1]) < 3, self.name, "shows", repr(tip), "for one of the first positions of", size)
        check("(%d)" % self.run("trace.ids")[tokens[spans[int(at[1])]]] in tip, self.name, "shows another token in", repr(tip))
        head = branch + "position 0 of %d" % size

        self.run("document.getElementById('strips').focus()")
        strips.send_keys(Keys.HOME)
        strips.send_keys(*[Keys.ARROW_UP] * (3 * len(plans) * len(plans[0]["contexts"])))
        strips.send_keys(Keys.HOME)
        check("Row 1, " + head in self.live(), self.name, "says", self.live(), "expected", head)
        strips.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        said = self.live()
        check("position 2 of" in said, self.name, "says", said)
        piece = pieces[tokens[spans[2]]]
        check(piece.strip() in said, self.name, "says", said, "expected", piece)
        check("evaluated" in said, self.name, "says", said, "expected that it was evaluated")
        if len(plans) > 1 and len(plans[1]["contexts"]) == 1 and not plans[0]["contexts"][0]["beside"] and plans[1]["contexts"][0]["kept"] > 2:
            strips.send_keys(Keys.ARROW_DOWN)
            said = self.live()
            check(said.startswith("Row 2") and "reused" in said, self.name, "says", said, "expected a token that was reused")

    def check_early(self):
        """What is not there yet at the step of the slider is not shown, and keys work if it was pointed at before."""
        plans = self.run("trace.plans")
        size = plans[0]["contexts"][0]["size"]
        self.find("#step").send_keys(Keys.END)
        self.run("document.getElementById('strips').scrollTo(0, 1e9)")
        self.live()
        newest = self.find(f".row[data-row='{len(plans) - 1}'] canvas")
        ActionChains(self.driver).move_to_element_with_offset(newest, -newest.size["width"] // 2 + 9, -newest.size["height"] // 2 + 16).perform()
        equal(self.run("cursor.row"), len(plans) - 1, f"{self.name}: the row that is pointed at")
        self.run("document.getElementById('step').focus()")
        # In one go: the row is still there, and the pointer is still on it.
        said = self.run("""(() => { const old = document.querySelector(`.row[data-row="${plans.length - 1}"] canvas`), box = old.getBoundingClientRect();
            go(0);
            const found = [cursor.row, document.getElementById('tip').hidden];
            old.dispatchEvent(new PointerEvent('pointermove', {bubbles: true, clientX: box.left + 9, clientY: box.top + 12}));
            return [...found, cursor.row, tokenAt(0, 0, plans[0].contexts[0].size, false)]; })()""")
        equal(said, [-1, True, -1 if len(plans) > 1 else 0, None], f"{self.name}: what is pointed at after the slider went back")
        self.find("#step").send_keys(Keys.HOME)
        self.run("document.getElementById('strips').focus()")
        self.find("#strips").send_keys(Keys.ARROW_RIGHT)
        equal(self.run("cursor.row"), 0, f"{self.name}: the row after Home and an arrow")
        self.find("#strips").send_keys(Keys.END)
        check(f"position {size - 1} of {size}: " in self.live(), self.name, "says", self.live(), "expected the last of", size)
        self.find("#step").send_keys(Keys.END)

    def check_named(self):
        """What can be used has a name."""
        for element in self.run("[...document.querySelectorAll('button, input, canvas[role], [tabindex], [role]')]"):
            if element.get_attribute("id") != "live" and element.is_displayed():
                check(element.accessible_name, self.name, "has an element without a name:", element.get_attribute("outerHTML")[:120])
        check(self.find("#live").get_attribute("aria-live") == "polite", self.name, "has no live region")


def lightness(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def check_colours(page, dark):
    """Kinds differ in lightness, whatever the reader sees of colours; and text on the page can be read."""
    name = lambda colour: page.run("getComputedStyle(document.documentElement).getPropertyValue(arguments[0]).trim()", "--" + colour)
    kinds = {kind: lightness(name(kind)) for kind in ("reused", "evaluated", "passage", "marker", "aside")}
    ordered = sorted(kinds.items(), key=lambda kind: kind[1])
    for (a, low), (b, high) in zip(ordered, ordered[1:]):
        check(high - low >= 8, f"{a} and {b} have the lightness {low:.0f} and {high:.0f}", "when it is dark" if dark else "when it is light")
    for ink in ("ink", "soft"):
        check(abs(lightness(name(ink)) - lightness(name("panel"))) > 45, ink, "is hard to read on", name("panel"))
    equal(lightness(name("page")) < 50, dark, "the page is dark")


def frames(driver, step):
    """What 19 of 20 frames of a replay do not exceed, in ms: from one to the next, and of that in the script. `step` is of frame i of 100."""
    return driver.execute_async_script("""const done = arguments[1], to = new Function('i', 'return ' + arguments[0]), times = [], works = []; let i = 0, before;
        const most = list => list.sort((a, b) => a - b)[94];
        const frame = now => { if (i > 0) times.push(now - before); before = now;
            const began = performance.now(); go(Math.floor(to(i))); drawRows(); drawChart(); drawText(); works.push(performance.now() - began);
            ++i <= 100 ? requestAnimationFrame(frame) : done([most(times), most(works)]); };
        requestAnimationFrame(frame);""", step)


def changed(folder, name, change):
    """The page of a run with other data."""
    template = (folder / "append.html").read_text()
    begin = template.index('id="trace">') + len('id="trace">')
    end = template.index("</script>", begin)
    trace = json.loads(template[begin:end])
    change(trace)
    path = folder / f"{name}.html"
    path.write_text(template[:begin] + json.dumps(trace).replace("<", "\\u003c") + template[end:])
    return path


def check_cancelled(driver, folder):
    """What a plan counted that was cancelled before its end is in the sums of the last step."""
    counts = {"requested": 70, "evaluated": 21, "reused": 49, "discarded": 5}
    sums = {}

    def cancel(trace):
        trace["plans"][-1]["steps"] = counts
        for name in counts:
            sums[name] = sum(plan["counts"][name] + plan["steps"][name] for plan in trace["plans"])

    page = Page(driver, changed(folder, "cancelled", cancel), "cancelled")
    for name in ("requested", "evaluated", "reused"):
        equal(page.number(name), sums[name], f"cancelled: {name}")
    equal(page.run("sumsAt(last).discarded"), sums["discarded"], "cancelled: discarded")
    page.check_quiet()


def check_long(driver, folder):
    """10,000 tokens: few elements, and a replay whose frames are no more than four times as late as those of a page of 40 tokens. These are measured in
    the same browser, before and after, because the machine may be busy, and draws without a graphics card."""
    rows = 625
    plans = []
    for i in range(rows):
        # A text with passages between its parts, of which the model reads the newest 1,200 tokens.
        spans = [span for j in range(max(0, i - 39), i + 1) for span in ([1, 16 * j, 16], [3, 0, 1], [2, 1, 12], [3, 0, 1])]
        size = sum(span[2] for span in spans)
        plans.append({"at": 16 * i, "rewound": 0, "retrieval": None, "counts": {"requested": size, "evaluated": 30, "reused": size - 30, "discarded": 0},
                      "steps": {"requested": 15, "evaluated": 15, "reused": 0, "discarded": 0},
                      "seconds": {"retrieve": .001, "prefill": .01, "decode": .02, "total": .031}, "unfinished": {"retrieve": 0, "prefill": 0, "decode": 0, "total": 0},
                      "written": [16 * i + 16, 16], "prepend": size, "recompute": size,
                      "contexts": [{"size": size, "kept": size - 30, "spans": spans, "beside": []}]})
    path = changed(folder, "long", lambda trace: trace.update(plans=plans, retrievals=[], prompt=[0, 16], generated=16 * rows,
                                                              tokens=[i % len(trace["ids"]) for i in range(16 + 16 * rows)]))
    Page(driver, folder / "append.html", "append")
    near, less = frames(driver, "last * i / 100")
    long = Page(driver, path, "long")
    check(int(long.find("#step").get_attribute("max")) >= 10000, "the long page has few steps")
    late, work = frames(driver, "last * (0.8 + i / 600)")  # the pace of Replay, near the end
    elements = long.run("document.querySelectorAll('*').length")
    check(elements < 800, "a long page has", elements, "elements")
    long.check_quiet()
    short = Page(driver, folder / "append.html", "append")
    near, less = map(max, (near, less), frames(driver, "last * i / 100"))
    short.check_quiet()
    print(f"10,000 tokens: {elements} elements; 19 of 20 frames of a replay come within {late:.1f} ms, {work:.1f} of them in the script; of 40 tokens within {near:.1f} ms, {less:.1f} of them")
    check(late <= 4 * near, "19 of 20 frames of a long page come within", late, "ms, those of a short one within", near)
    check(work <= less + 33, "19 of 20 frames of a long page take the script", work, "ms, those of a short one", less)


def picture(path, png):
    with tempfile.TemporaryDirectory() as folder:
        driver = browser(folder)
        try:
            driver.set_window_size(1240, 1180)
            page = Page(driver, pathlib.Path(path).resolve(), "picture")
            strip = page.driver.find_elements(By.CSS_SELECTOR, ".row canvas")[2]
            ActionChains(driver).move_to_element_with_offset(strip, -170, -18).perform()
            page.live()
            driver.save_screenshot(png)
        finally:
            driver.quit()


def main():
    if sys.argv[1] == "--picture":
        return picture(*sys.argv[2:])
    tool = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in CORPUS))
        driver = browser(folder)
        try:
            for run, options in RUNS.items():
                corpus = [] if run == "none" else ["--corpus", str(folder / "corpus.jsonl")]
                told = subprocess.run([tool, "generate", *corpus, "--prompt", PROMPT, "--ignore-eos", "--json",
                                       "--trace", str(folder / f"{run}.html"), *options, *([] if "--max-tokens" in options else ["--max-tokens", "40"])], capture_output=True, check=True)
                told = json.loads(told.stdout)
                page = Page(driver, folder / f"{run}.html", run)
                page.check_numbers(told)
                equal(page.run("[...document.querySelectorAll('#run dd')].slice(0, 3).map(dd => dd.textContent)"),
                      ["the default model", told["layout"], told["schedule"]], run + ": what was run")
                page.check_slider(told)
                page.check_tokens()
                page.check_early()
                if run == "full":
                    equal(told["stop"], "window_full", "full: stop")
                    check(page.run("trace.plans[trace.plans.length - 1].unfinished.retrieve") > 0, "full: no search came to no plan")
                if run == "append":
                    page.check_named()
                    check_colours(page, dark=False)
                    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
                    check_colours(page, dark=True)
                    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
                page.check_quiet()
            check_cancelled(driver, folder)
            check_long(driver, folder)
        finally:
            driver.quit()
    print("trace_page:", len(RUNS), "pages")


if __name__ == "__main__":
    main()
