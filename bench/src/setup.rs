//! What is measured and from where: addresses, processes, limits of the run.

use crate::cli::Common;
use crate::http::Api;
use crate::server::{Server, Spawn};
use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

const TCP_DEFAULT: &str = "127.0.0.1:3101";
const WS_DEFAULT: &str = "127.0.0.1:3102";
const WSS_DEFAULT: &str = "127.0.0.1:3103";
const API_DEFAULT: &str = "http://127.0.0.1:3111";

/// Everything that holds for a whole invocation.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) launcher: Launcher,
    tcp: Vec<SocketAddr>,
    ws: Vec<SocketAddr>,
    api: Api,
    api_token: Option<String>,
    pids: Vec<u32>,
    spawn: Option<Spawn>,
    pub(crate) quiet: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
    /// The command line, to repeat it.
    pub(crate) command: String,
}

/// How this program starts itself again as a child.
#[derive(Clone, Debug)]
pub(crate) struct Launcher {
    pub(crate) exe: PathBuf,
    /// What stands before the generator's own arguments, such as `bench`.
    pub(crate) prefix: Vec<String>,
}

/// A server to measure, perhaps one that was started for it.
pub(crate) struct Target {
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) ws: Vec<SocketAddr>,
    pub(crate) api: Api,
    pub(crate) pids: Vec<u32>,
    /// As the server said it; empty when it was not asked.
    pub(crate) version: String,
    _server: Option<Server>,
}

impl Setup {
    /// Reads the options, and refuses what is not on this machine unless the
    /// user says it is theirs.
    pub(crate) fn new(common: &Common, args: &[String]) -> Result<Self> {
        let given = addresses(&common.target)?;
        let ws_given = addresses(&common.ws_target)?;
        let or = |first: &[SocketAddr], second: &[SocketAddr], default| match (first, second) {
            ([], []) => addresses(&[default]),
            ([], some) | (some, _) => Ok(some.to_vec()),
        };
        let tcp = or(&given, &[], TCP_DEFAULT.to_owned())?;
        let second = if common.ws { &given[..] } else { &[] };
        let ws_default = if common.tls { WSS_DEFAULT } else { WS_DEFAULT };
        let ws = or(&ws_given, second, ws_default.to_owned())?;
        if common.tls && !common.ws && given.is_empty() && !common.spawn_server {
            bail!("--tls needs --target with the TLS port, or --ws, or --spawn-server");
        }
        let url = common.api.as_deref().unwrap_or(API_DEFAULT);
        let api = Api::parse(url, common.api_token.clone())?;
        let setup = Self {
            launcher: Launcher::of_this_process(args)?,
            tcp,
            ws,
            api,
            api_token: common.api_token.clone(),
            pids: common.server_pid.clone(),
            spawn: spawn(common)?,
            quiet: common.quiet,
            json: common.json.clone(),
            html: common.html.clone(),
            command: command_line(args),
        };
        if !common.i_own_this_target {
            setup.refuse_strangers()?;
        }
        Ok(setup)
    }

    /// Whether each row may have a server of its own.
    pub(crate) fn spawns(&self) -> bool {
        self.spawn.is_some()
    }

    /// The server to measure; `extra` is for one that is started now.
    pub(crate) fn target(&self, extra: &[String], tls: bool) -> Result<Target> {
        let Some(spawn) = &self.spawn else {
            return Ok(Target {
                tcp: self.tcp.clone(),
                ws: self.ws.clone(),
                api: self.api.clone(),
                pids: self.pids.clone(),
                version: String::new(),
                _server: None,
            });
        };
        let server = spawn.start(extra, tls)?;
        let ready = &server.ready;
        let (tcp, ws) = if tls { (&ready.tls, &ready.wss) } else { (&ready.tcp, &ready.ws) };
        Ok(Target {
            tcp: tcp.clone(),
            ws: ws.clone(),
            api: Api::parse(&server.ready.http, self.api_token.clone())?,
            pids: vec![server.pid()],
            version: server.ready.version.clone(),
            _server: Some(server),
        })
    }

    fn refuse_strangers(&self) -> Result<()> {
        let all = self.tcp.iter().chain(&self.ws).chain(std::iter::once(&self.api.addr));
        for addr in all {
            if !addr.ip().is_loopback() {
                bail!("{addr} is not on this machine; if it is yours, add --i-own-this-target");
            }
        }
        Ok(())
    }
}

impl Launcher {
    /// What stands before `args` on this process's command line leads back here.
    fn of_this_process(args: &[String]) -> Result<Self> {
        let exe = std::env::current_exe().context("where is this program?")?;
        let whole: Vec<String> = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
        let prefix = whole[..whole.len().saturating_sub(args.len())].to_vec();
        Ok(Self { exe, prefix })
    }
}

/// The command line for the report, without the secrets in it.
fn command_line(args: &[String]) -> String {
    let mut words = vec!["perseid bench".to_owned()];
    let mut secret = false;
    for arg in args {
        let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
        let hides = matches!(name, "--api-token" | "--client-token");
        words.push(match (secret, hides && value.is_some()) {
            (true, _) => "***".to_owned(),
            (false, true) => format!("{name}=***"),
            (false, false) => arg.clone(),
        });
        secret = !secret && hides && value.is_none();
    }
    words.join(" ")
}

fn spawn(common: &Common) -> Result<Option<Spawn>> {
    if !common.spawn_server {
        if !common.server_args.is_empty() {
            bail!("arguments after -- are for --spawn-server");
        }
        return Ok(None);
    }
    let exe = match &common.server_exe {
        Some(exe) => exe.clone(),
        None => std::env::current_exe().context("where is this program?")?,
    };
    Ok(Some(Spawn { exe, args: common.server_args.clone() }))
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>> {
    let resolve = |text: &String| {
        let found = text.to_socket_addrs().ok().and_then(|mut addrs| addrs.next());
        found.with_context(|| format!("{text}: no such address (host:port)"))
    };
    texts.iter().map(resolve).collect()
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn tokens_stay_out_of_reports() {
        let args = ["push", "--api-token", "s1", "--client-token=s2", "--rate", "5", "--", "--set", "a=b"];
        let line = command_line(&args.map(str::to_owned));
        assert_eq!(line, "perseid bench push --api-token *** --client-token=*** --rate 5 -- --set a=b");
    }
}
