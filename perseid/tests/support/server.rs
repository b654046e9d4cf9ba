//! The real binary in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{Http, PATIENCE};

/// A token that [`Server::start_with_token`] lets in, and the entry that says so.
pub(crate) const TOKEN: &str = "psd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const TOKEN_ENTRY: &str = "[[token]]
name = \"test\"
hash = \"sha256:93809b228ce7a10a4de0e3ac66148b42ff186112b48dd1f012f5d5b5298e8324\"
scopes = [\"push\", \"read\", \"admin\"]
";

/// A standalone that serves. Dropping it kills the process and removes its data.
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) ready: Value,
    pub(crate) tcp: SocketAddr,
    pub(crate) ws: SocketAddr,
    pub(crate) http: SocketAddr,
    process: Process,
    dir: TempDir,
    args: Vec<String>,
    token: Option<&'static str>,
}

impl Server {
    /// Starts one with free ports, a new data directory, and these arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let dir = TempDir::new().expect("a directory for data");
        Self::start_in(dir, args.iter().map(|arg| (*arg).to_owned()).collect())
    }

    /// Starts one whose callers need a token; [`Server::http`] has one.
    pub(crate) fn start_with_token(args: &[&str]) -> Self {
        let dir = TempDir::new().expect("a directory for data");
        let file = dir.path().join("tokens.toml");
        std::fs::write(&file, TOKEN_ENTRY).expect("a file of tokens");
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        args.extend(["--set".to_owned(), format!("logic.api_tokens={}", file.display())]);
        Self { token: Some(TOKEN), ..Self::start_in(dir, args) }
    }

    /// Starts a comet that finds logic at `logic`.
    pub(crate) fn start_comet(logic: &str, args: &[&str]) -> Self {
        let dir = TempDir::new().expect("a directory for data");
        let mut command = perseid();
        command.args(["comet", "--logic", logic, "--tcp", "127.0.0.1:0", "--ws", "127.0.0.1:0"]);
        command.args(["--http", "127.0.0.1:0", "--comet-grpc", "127.0.0.1:0"]).args(args);
        Self::start_process(dir, args.iter().map(|arg| (*arg).to_owned()).collect(), Process::spawn(command))
    }

    /// Starts one that may open only so many files.
    pub(crate) fn start_with_files(files: usize, args: &[&str]) -> Self {
        let dir = TempDir::new().expect("a directory for data");
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let limited = Self::command(&dir.path().join("data"), &args);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")])
            .arg(limited.get_program())
            .args(limited.get_args());
        for (name, value) in limited.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self::start_process(dir, args, Process::spawn(command))
    }

    fn start_in(dir: TempDir, args: Vec<String>) -> Self {
        let process = Process::spawn(Self::command(&dir.path().join("data"), &args));
        Self::start_process(dir, args, process)
    }

    fn start_process(dir: TempDir, args: Vec<String>, mut process: Process) -> Self {
        let line = process.first_line();
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("no ready line: {error} in {line:?}; stderr:\n{}", process.stderr()));
        assert_eq!(ready["ready"], true);
        let one = |value: &Value| value.as_str().expect("an address").parse().expect("an address");
        let pid = process.child.id();
        assert_eq!(ready["pid"], pid);
        let (tcp, ws, http) = (one(&ready["tcp"][0]), one(&ready["ws"][0]), one(&ready["http"]));
        Self { pid, tcp, ws, http, ready, process, dir, args, token: None }
    }

    /// The command that starts a server on free ports, without the environment's configuration.
    pub(crate) fn command(data: &Path, args: &[String]) -> Command {
        let mut command = perseid();
        command.arg("standalone").arg("--data-dir").arg(data);
        command.args(["--tcp", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(["--comet-grpc", "127.0.0.1:0", "--logic-grpc", "127.0.0.1:0"]).args(args);
        command
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A place for files of the test, beside the data.
    pub(crate) fn place(&self) -> &Path {
        self.dir.path()
    }

    /// A new connection to its HTTP port.
    pub(crate) fn http(&self) -> Http {
        let mut http = Http::connect(self.http);
        http.token = self.token;
        http
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    /// SIGKILL, and it is gone.
    pub(crate) fn kill9(mut self) -> Stopped {
        self.process.child.kill().expect("a process to kill");
        self.killed()
    }

    /// Waits for a process that a signal has ended.
    pub(crate) fn killed(mut self) -> Stopped {
        assert_eq!(self.process.wait(), None, "it exited by itself");
        Stopped { dir: self.dir, args: self.args }
    }

    /// SIGTERM; gives the exit status and all of stdout.
    pub(crate) fn terminate(self) -> (i32, String, Stopped) {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the end; gives the exit status and all of stdout.
    pub(crate) fn wait(mut self) -> (i32, String, Stopped) {
        let exit = self.process.wait();
        let exit = exit.unwrap_or_else(|| panic!("ended by a signal; stderr:\n{}", self.process.stderr()));
        (exit, self.process.stdout(), Stopped { dir: self.dir, args: self.args })
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.child.try_wait().expect("a child").is_some()
    }

    /// What it has written to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.process.stderr()
    }
}

/// What is left of a server that ended: its data.
pub(crate) struct Stopped {
    dir: TempDir,
    args: Vec<String>,
}

impl Stopped {
    /// Starts it again on its data.
    pub(crate) fn restart(self) -> Server {
        Server::start_in(self.dir, self.args)
    }

    /// The same with further arguments.
    pub(crate) fn restart_with(mut self, args: &[&str]) -> Server {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self.restart()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// The binary, without what the environment may say about its configuration.
pub(crate) fn perseid() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perseid"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PERSEID_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end, which must come soon.
pub(crate) fn run(mut command: Command) -> Output {
    let mut process = Process::spawn_with(command.stdin(Stdio::null()));
    let code = process.wait();
    let exit = process.exit.expect("waited for");
    assert!(code.is_some(), "{command:?} ended by a signal");
    Output { status: exit, stdout: process.stdout().into_bytes(), stderr: process.stderr().into_bytes() }
}

/// Sends a signal by its name, as in `TERM`.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().expect("a shell");
    assert!(status.success(), "kill -{name} {pid}");
}

/// A child whose output is collected, and which is killed when it is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    exit: Option<std::process::ExitStatus>,
    lines: Receiver<()>,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        Self::spawn_with(command.stdin(Stdio::null()))
    }

    fn spawn_with(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let (line, lines) = channel();
        let (stdout, stderr) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let readers = vec![
            collect(child.stdout.take().expect("piped"), stdout.clone(), Some(line)),
            collect(child.stderr.take().expect("piped"), stderr.clone(), None),
        ];
        Self { child, exit: None, lines, stdout, stderr, readers }
    }

    /// The first line of stdout; empty if the process ends without one.
    pub(crate) fn first_line(&mut self) -> String {
        // Disconnected when stdout ended.
        let _ = self.lines.recv_timeout(PATIENCE);
        self.stdout().lines().next().unwrap_or_default().to_owned()
    }

    /// All of stdout so far.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock().unwrap()).into_owned()
    }

    /// All of stderr so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Waits for the end; gives the exit status, `None` if a signal ended it. Its output is complete then.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let started = Instant::now();
        while self.exit.is_none() {
            self.exit = self.child.try_wait().expect("a child");
            if self.exit.is_none() {
                assert!(started.elapsed() < 2 * PATIENCE, "still running; stderr:\n{}", self.stderr());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.exit.and_then(|exit| exit.code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let stderr = self.stderr();
            let tail: Vec<&str> = stderr.lines().rev().take(30).collect();
            eprintln!("-- the end of the process's stderr --");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

fn collect(
    from: impl Read + Send + 'static,
    into: Arc<Mutex<Vec<u8>>>,
    line: Option<std::sync::mpsc::Sender<()>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            into.lock().unwrap().append(&mut bytes);
            if let Some(line) = &line {
                let _ = line.send(());
            }
        }
    })
}
