//! What `[cluster]` says must fit together.

use super::Known;
use crate::config::problem::Problem;
use crate::config::settings::Settings;
use crate::config::value::Value;

impl Known<'_> {
    /// Certificates come in threes, and addresses have the form that they are read in.
    pub(super) fn cluster(&self, settings: &Settings) -> Vec<Problem> {
        let mut problems = Vec::new();
        let three = ["cluster.certificate", "cluster.key", "cluster.ca"].map(|path| self.get(path));
        if let [Some(certificate), Some(key), Some(ca)] = three {
            let named = [certificate, key, ca].iter().filter(|entry| entry.value != Value::Text(String::new())).count();
            if named % 3 != 0 {
                problems.push(Problem {
                    place: Self::place(&[certificate, key, ca]),
                    subject: "cluster.certificate".to_owned(),
                    what: "certificate, key and ca of [cluster] are of use only together".to_owned(),
                    hint: Some("name all three, or none".to_owned()),
                });
            }
        }
        let cluster = &settings.cluster;
        let advertise = std::slice::from_ref(&cluster.advertise);
        let advertise = advertise.iter().filter(|text| !text.is_empty());
        let lists: [(&str, Vec<&String>); 3] = [
            ("cluster.logics", cluster.logics.iter().collect()),
            ("cluster.advertise", advertise.collect()),
            ("cluster.goim_comets", cluster.goim_comets.iter().collect()),
        ];
        for (path, texts) in lists {
            let Some(entry) = self.get(path) else { continue };
            let is_pair = path == "cluster.goim_comets";
            for text in texts {
                let addr = if is_pair { text.split_once('=').map_or("", |(_, addr)| addr) } else { text };
                let form = if is_pair { "NAME=HOST:PORT" } else { "HOST:PORT" };
                let is_addr = addr.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
                if !is_addr || (is_pair && text.starts_with('=')) {
                    problems.push(Problem {
                        place: entry.origin.clone(),
                        subject: path.to_owned(),
                        what: format!("{text:?} is not of the form {form}"),
                        hint: None,
                    });
                }
            }
        }
        problems
    }
}
