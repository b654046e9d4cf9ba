//! SIGHUP: files are read again, and the keys that may change while it runs do.

use perseid_comet::Certificates;

use super::comet_config::comet_config;
use super::logic_config::{logic_config, stored_config};
use super::{Standalone, access};
use crate::config::Settings;
use crate::gate::session_limits;
use crate::{certificates, traces};

impl Standalone {
    /// The certificates to go on with: those of the files as they are now, or, if these can't be used, those in use.
    fn reload_certificates(&mut self, settings: &Settings) -> Option<Certificates> {
        match certificates::load(settings, self.certificates.as_ref()) {
            Ok(Some(fresh)) => self.certificates = Some(fresh),
            Ok(None) if self.certificates.is_some() => {
                tracing::warn!("no certificate is named any more: those in use stay, until a restart");
            }
            Ok(None) => {}
            Err(error) => tracing::error!("the certificates were not read again, those in use stay: {error:#}"),
        }
        self.certificates.clone()
    }

    /// Goes on with what may change while it runs: the keys that the table marks so.
    pub fn reload(&mut self, settings: Settings) {
        let certificates = self.reload_certificates(&settings);
        let comet = comet_config(&settings, self.parts.started_ms, certificates);
        self.parts.comet.reload(perseid_comet::Config { node_id: self.parts.comet.config().node_id.clone(), ..comet });
        self.api.reload(logic_config(&settings));
        self.stored.inbox.reload(stored_config(&settings));
        self.logic.reload(session_limits(&settings));
        self.gate.reload(&settings);
        self.drain.reload(settings.comet.drain_rate);
        self.reload_tokens();
        self.told.reload(&settings);
        self.traces.reload(traces::ratio(&settings.trace));
        self.settings = settings;
    }

    /// Reads the API tokens again. A bad file changes nothing and is reported.
    fn reload_tokens(&self) {
        let file = &self.settings.logic.api_tokens;
        if file.as_os_str().is_empty() {
            return;
        }
        match access::read_tokens(file) {
            Ok(tokens) => {
                tracing::info!(count = tokens.count(), "the file of API tokens is read");
                self.access.reload(tokens);
            }
            Err(error) => tracing::error!("the API tokens stay as they were: {error:#}"),
        }
    }
}
