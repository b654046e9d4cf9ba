//! The options of the server commands: layers of the configuration.

use std::path::PathBuf;

use clap::Args;

use crate::config::{self, ConfigFile, Loaded, Problems, Sources};

/// Options of everything that serves. All but `--config` and `--set` are short for a `--set` on
/// one key, and are texts here so that their mistakes are reported with all the others.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server options")]
pub struct ServerArgs {
    /// Configuration file (TOML); `perseid config docs` documents the keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key; wins over PERSEID_SECTION__KEY, which wins over the file (repeatable)
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Where the event log and the store live [default: perseid-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Listen for TCP clients; port 0 picks a free one (repeatable) [default: 127.0.0.1:3101]
    #[arg(long, value_name = "ADDR")]
    pub tcp: Vec<String>,
    /// Listen for WebSocket clients (repeatable) [default: 127.0.0.1:3102]
    #[arg(long, value_name = "ADDR")]
    pub ws: Vec<String>,
    /// Listen for TCP clients behind TLS; needs tls.certificates and tls.keys (repeatable)
    #[arg(long, value_name = "ADDR")]
    pub tls: Vec<String>,
    /// Listen for WebSocket clients behind TLS (repeatable) [default: 127.0.0.1:3103 when there is a certificate]
    #[arg(long, value_name = "ADDR")]
    pub wss: Vec<String>,
    /// Push API, console, health and metrics (repeatable) [default: 127.0.0.1:3111]
    #[arg(long, value_name = "ADDR")]
    pub http: Vec<String>,
    /// gRPC of the comet: pushes from jobs, goim's among them (repeatable) [default: 127.0.0.1:3109]
    #[arg(long, value_name = "ADDR")]
    pub comet_grpc: Vec<String>,
    /// gRPC of logic: for comets, goim's among them (repeatable) [default: 127.0.0.1:3119]
    #[arg(long, value_name = "ADDR")]
    pub logic_grpc: Vec<String>,
    /// Allow listening beyond loopback while anyone may be any user
    #[arg(long)]
    pub insecure: bool,
    /// Form of the log on stderr: text, json or auto [default: auto: text on a terminal]
    #[arg(long, value_name = "FORMAT")]
    pub log: Option<String>,
    /// What is logged: a level, or as in info,perseid_comet=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// Options of a comet alone: those of every server, and where logic is.
#[derive(Debug, Clone, Default, Args)]
pub struct CometArgs {
    /// Where logics listen for comets; the next one is used when one is lost (repeatable; cluster.logics)
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub logic: Vec<String>,
    /// The others
    #[command(flatten)]
    pub server: ServerArgs,
}

impl CometArgs {
    /// As options of a server.
    pub fn as_server_args(&self) -> ServerArgs {
        let mut args = self.server.clone();
        if !self.logic.is_empty() {
            args.set.push(format!("cluster.logics={}", self.logic.join(",")));
        }
        args
    }
}

impl ServerArgs {
    /// Reads the configuration: the file of `--config`, the environment of this process, and
    /// these options. SIGHUP calls it again.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn load(&self) -> Result<Loaded, Problems> {
        config::load(&self.sources())
    }

    /// What the file, the environment of this process and these options say.
    pub fn sources(&self) -> Sources {
        // A name that is not UTF-8 is none of ours.
        let env = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let mut env: Vec<_> = env.filter(|(name, _)| name.starts_with("PERSEID_")).collect();
        env.sort();
        Sources { file: self.config.as_deref().map(ConfigFile::read), env, set: self.set.clone(), options: self.options() }
    }

    /// The options that were given, by name.
    fn options(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        let insecure = self.insecure.then(|| "true".to_owned());
        let mut options = vec![
            ("--data-dir", one(&self.data_dir)),
            ("--tcp", self.tcp.clone()),
            ("--ws", self.ws.clone()),
            ("--tls", self.tls.clone()),
            ("--wss", self.wss.clone()),
            ("--http", self.http.clone()),
            ("--comet-grpc", self.comet_grpc.clone()),
            ("--logic-grpc", self.logic_grpc.clone()),
            ("--insecure", one(&insecure)),
            ("--log", one(&self.log)),
            ("--log-level", one(&self.log_level)),
        ];
        options.retain(|(_, values)| !values.is_empty());
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    /// Every option of the table is one of the command line, and the other way round.
    #[test]
    fn the_options_of_the_table_are_those_of_the_command_line() {
        let all = ServerArgs {
            data_dir: Some("d".into()),
            tcp: vec!["127.0.0.1:1".into()],
            ws: vec!["127.0.0.1:2".into()],
            tls: vec!["127.0.0.1:4".into()],
            wss: vec!["127.0.0.1:5".into()],
            http: vec!["127.0.0.1:3".into()],
            comet_grpc: vec!["127.0.0.1:4".into()],
            logic_grpc: vec!["127.0.0.1:5".into()],
            insecure: true,
            log: Some("json".into()),
            log_level: Some("warn".into()),
            ..ServerArgs::default()
        };
        let command = ServerArgs::augment_args(clap::Command::new("x"));
        let mut known: Vec<String> = command
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .filter(|long| !["config", "set"].contains(long))
            .map(|long| format!("--{long}"))
            .collect();
        let mut given: Vec<&str> = all.options().iter().map(|(option, _)| *option).collect();
        let mut table: Vec<&str> = keys().filter_map(|key| key.option).collect();
        known.sort();
        given.sort();
        table.sort();
        assert_eq!(known, table);
        assert_eq!(given, table);
    }
}
