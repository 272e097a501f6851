//! A headless Chromium, driven through a pipe: what shows that the explorer's page works, and takes its pictures.

use anyhow::{Context, Result, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};
use tempfile::TempDir;

/// The names that Chromium has on PATH.
const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell"];
/// The longest that anything may take: nothing here depends on it unless something hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where Chromium is: what `CHROMIUM` names, or the first on PATH.
#[must_use]
pub fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).flat_map(|place| NAMES.map(|name| place.join(name))).find(|program| program.is_file())
}

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    to: io::PipeWriter,
    from: BufReader<io::PipeReader>,
    session: String,
    asked: u64,
    problems: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it.
    ///
    /// # Errors
    /// It does not start, or does not speak its protocol.
    pub fn start(program: &Path) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let (theirs_in, to) = io::pipe()?;
        let (from, theirs_out) = io::pipe()?;
        let mut command = Command::new(program);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--hide-scrollbars",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.fd_mappings(vec![
            FdMapping { parent_fd: OwnedFd::from(theirs_in), child_fd: 3 },
            FdMapping { parent_fd: OwnedFd::from(theirs_out), child_fd: 4 },
        ])?;
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        drop(command);
        let from = BufReader::new(from);
        let (session, asked, problems) = (String::new(), 0, Vec::new());
        let mut browser = Self { child, to, from, session, asked, problems, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attached)?;
        browser.session = attached["sessionId"].as_str().context("Chromium gives no session")?.to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Calls a method of the protocol, and returns its result.
    ///
    /// # Errors
    /// It is refused, or the browser has ended.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.asked += 1;
        let id = self.asked;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(message.to_string().as_bytes())?;
        self.to.write_all(b"\0")?;
        loop {
            let answer = self.receive()?;
            if answer["id"] == id {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes)?;
        ensure!(bytes.pop() == Some(0), "Chromium has ended");
        let message: Value = serde_json::from_slice(&bytes)?;
        let details = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.problems.push(details["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if details["type"] == "error" || details["type"] == "warning" => {
                self.problems.push(details["args"].to_string());
            }
            Some("Log.entryAdded") if details["entry"]["level"] == "error" => {
                self.problems.push(details["entry"].to_string());
            }
            _ => {}
        }
        Ok(message)
    }

    /// Opens a page from disk, and waits until it says that it is ready.
    ///
    /// # Errors
    /// It is never ready.
    pub fn open(&mut self, page: &Path, rest: &str) -> Result<()> {
        let page = fs::canonicalize(page)?;
        self.visit(&format!("file://{}{rest}", page.display()))
    }

    /// Opens a page by its address, and waits until it says that it is ready.
    ///
    /// # Errors
    /// It is never ready.
    pub fn visit(&mut self, address: &str) -> Result<()> {
        self.call("Page.navigate", json!({ "url": address }))?;
        self.wait_for("document.documentElement?.dataset.ready === '1'")
    }

    /// Waits until an expression of the page is true.
    ///
    /// # Errors
    /// It never is.
    pub fn wait_for(&mut self, expression: &str) -> Result<()> {
        let begun = Instant::now();
        while self.evaluate(expression)? != Value::Bool(true) {
            ensure!(begun.elapsed() < PATIENCE, "never true: {expression}; {:?}", self.problems);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The value of an expression of the page.
    ///
    /// # Errors
    /// It has none, since it throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", parameters)?;
        if !result["exceptionDetails"].is_null() {
            bail!("{expression}: {}", result["exceptionDetails"]);
        }
        Ok(result["result"]["value"].clone())
    }

    /// Presses a key and lets it go.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub fn press(&mut self, key: &str) -> Result<()> {
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            "Home" => 36,
            "End" => 35,
            _ => 0,
        };
        let mut down = json!({ "type": if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "key": key,
            "windowsVirtualKeyCode": code });
        if !text.is_empty() {
            down["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", down)?;
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }))?;
        Ok(())
    }

    /// Makes the window so many pixels large, with the colours of a dark page or of a light one.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub fn set(&mut self, width: u32, height: u32, is_dark: bool) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }))?;
        Ok(())
    }

    /// Takes a picture of the whole page.
    ///
    /// # Errors
    /// It cannot be taken or written.
    pub fn picture(&mut self, file: &Path) -> Result<()> {
        use base64::Engine;
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }))?;
        let data = taken["data"].as_str().context("Chromium gives no picture")?;
        let mut out = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        out.write_all(&base64::engine::general_purpose::STANDARD.decode(data)?)?;
        Ok(())
    }

    /// Errors and warnings in the console, and exceptions, since this was last asked.
    pub fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session.clear();
        // It has its own processes to end; if it does not answer, it is ended.
        if self.call("Browser.close", json!({})).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
