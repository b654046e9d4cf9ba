//! A server of the generator's own: started, asked where it listens, stopped.

use crate::clock::{SECOND, now_ns};
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

/// How long a server may take until it serves.
const START: Duration = Duration::from_secs(30);
/// How long it may take to stop after SIGTERM; then it is killed.
const STOP_NS: u64 = 35 * SECOND;

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Spawn {
    pub(crate) exe: PathBuf,
    /// Given after `--` on the command line.
    pub(crate) args: Vec<String>,
}

/// A running standalone server with a data directory that goes with it.
pub(crate) struct Server {
    process: Child,
    pub(crate) ready: Ready,
    // Removed when the server has ended.
    _data: TempDir,
}

/// The line that a server prints when everything serves.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ready {
    #[serde(default)]
    pub(crate) tcp: Vec<SocketAddr>,
    #[serde(default)]
    pub(crate) ws: Vec<SocketAddr>,
    #[serde(default)]
    pub(crate) tls: Vec<SocketAddr>,
    #[serde(default)]
    pub(crate) wss: Vec<SocketAddr>,
    pub(crate) http: String,
    #[serde(default)]
    pub(crate) version: String,
}

impl Spawn {
    /// Starts a standalone on free ports and waits until it serves.
    pub(crate) fn start(&self, extra: &[String], tls: bool) -> Result<Server> {
        let data = tempfile::Builder::new().prefix("perseid-bench-").tempdir()?;
        let log_path = data.path().join("server.log");
        let log = File::create(&log_path)?;
        let secure = if tls { certificate(data.path())? } else { Vec::new() };
        let mut process = Command::new(&self.exe)
            .arg("standalone")
            .args(["--tcp", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--comet-grpc", "127.0.0.1:0", "--logic-grpc", "127.0.0.1:0"])
            .args(["--log", "text", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(data.path().join("data"))
            .args(secure)
            .args(extra)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.exe.display()))?;
        let line = first_line(&mut process);
        let ready = line.and_then(|line| serde_json::from_str::<Ready>(&line).with_context(|| format!("ready line {line:?}")));
        match ready {
            Ok(ready) => Ok(Server { process, ready, _data: data }),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                let said = tail(&log_path).unwrap_or_default();
                Err(error.context(format!("the server did not start; it said:\n{said}")))
            }
        }
    }
}

/// Arguments for listeners behind TLS, with a certificate of their own (ECDSA P-256) in `dir`.
fn certificate(dir: &Path) -> Result<Vec<String>> {
    let made = rcgen::generate_simple_self_signed([crate::engine::tls::NAME.to_owned()]).context("no certificate")?;
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, made.cert.pem())?;
    let mut options = File::options();
    // The key is for this server alone.
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
    options.open(&key)?.write_all(made.signing_key.serialize_pem().as_bytes())?;
    let set = |name: &str, path: &Path| format!("tls.{name}={}", path.display());
    let args = ["--tls", "127.0.0.1:0", "--wss", "127.0.0.1:0", "--set"].map(str::to_owned);
    Ok([&args[..], &[set("certificates", &cert), "--set".to_owned(), set("keys", &key)]].concat())
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline_ns = now_ns() + STOP_NS;
        while matches!(self.process.try_wait(), Ok(None)) {
            if now_ns() > deadline_ns {
                let _ = self.process.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The first line on standard output, in a thread because it may never come.
fn first_line(process: &mut Child) -> Result<String> {
    let output = process.stdout.take().context("a server without output")?;
    let (sender, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = String::new();
        let read = output.read_line(&mut line);
        let _ = sender.send(read.map(|_| line));
        // Keeps the pipe open and empty as long as the server lives.
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    match line.recv_timeout(START) {
        Ok(Ok(line)) if line.is_empty() => bail!("it ended at once"),
        Ok(line) => Ok(line?),
        Err(_) => Err(anyhow!("not ready within {} s", START.as_secs())),
    }
}

fn tail(path: &std::path::Path) -> Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(2000)))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
