//! Mutual TLS between the parts: with one authority everything works, and strangers get nothing.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use std::net::SocketAddr;

use perseid_rpc::goim::logic::NodesReq;
use perseid_rpc::goim::logic::logic_client::LogicClient;
use perseid_wire::{Dial, WireTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{Options, TestComet, TestLogic, runtime, until};
use tokio::runtime::Runtime;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `name`, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Shows a certificate of this authority, and trusts `trusted`.
    fn shows(&self, name: &str, trusted: &Self) -> WireTls {
        let (certificate, key) = self.issue(name);
        WireTls::from_pem(certificate, key, trusted.0.pem())
    }
}

const HERE: &str = "127.0.0.1";

/// Whether somebody who calls like this is answered.
fn is_answered(runtime: &Runtime, channel: Result<Channel, tonic::transport::Error>) -> bool {
    // With TLS 1.3 whoever is refused learns it when he reads first.
    channel.is_ok_and(|channel| {
        let nodes = async { LogicClient::new(channel).nodes(NodesReq::default()).await };
        runtime.block_on(nodes).is_ok()
    })
}

fn dial(runtime: &Runtime, addr: SocketAddr, tls: Option<WireTls>) -> Result<Channel, tonic::transport::Error> {
    runtime.block_on(Dial { tls }.connect(&addr.to_string()))
}

#[test]
fn parts_of_one_authority_work_together() {
    let runtime = runtime();
    let ours = Authority::new();
    let options = Options { tls: Some(ours.shows(HERE, &ours)), ..Options::default() };
    let mut logic = TestLogic::start(&runtime, &options);
    let comet = TestComet::start(&runtime, "comet", logic.addr, Some(ours.shows(HERE, &ours)), |addr| addr);
    comet.wait_for_lane(&logic);
    let mut client = comet.login(1, "a", "live://1");
    logic.push_to_mid(1, "to a user");
    logic.push_to_room("live://1", "to a room");
    assert_eq!((client.push(), client.push()), ("to a user".into(), "to a room".into()));
    assert!(client.is_quiet());
}

#[test]
fn strangers_are_refused_by_logic_and_by_comets() {
    let runtime = runtime();
    let (ours, foreign) = (Authority::new(), Authority::new());
    let options = Options { tls: Some(ours.shows(HERE, &ours)), ..Options::default() };
    let logic = TestLogic::start(&runtime, &options);
    let comet = TestComet::start(&runtime, "comet", logic.addr, Some(ours.shows(HERE, &ours)), |addr| addr);
    comet.wait_for_lane(&logic);

    let without_certificate = |addr: SocketAddr| {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ours.0.pem()));
        let endpoint = Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap();
        runtime.block_on(endpoint.connect())
    };
    assert!(is_answered(&runtime, dial(&runtime, logic.addr, Some(ours.shows("anything", &ours)))), "one of ours");
    assert!(!is_answered(&runtime, without_certificate(logic.addr)), "without a certificate");
    assert!(!is_answered(&runtime, dial(&runtime, logic.addr, None)), "in the clear");
    assert!(!is_answered(&runtime, dial(&runtime, logic.addr, Some(foreign.shows(HERE, &ours)))), "of a foreign authority");
    assert!(!is_answered(&runtime, dial(&runtime, logic.addr, Some(ours.shows(HERE, &foreign)))), "who trusts another one");

    // A comet's port asks for the same.
    use perseid_rpc::goim::comet::RoomsReq;
    use perseid_rpc::goim::comet::comet_client::CometClient;
    let rooms = |channel: Result<Channel, tonic::transport::Error>| {
        channel.is_ok_and(|channel| runtime.block_on(async { CometClient::new(channel).rooms(RoomsReq {}).await }).is_ok())
    };
    assert!(rooms(dial(&runtime, comet.grpc, Some(ours.shows(HERE, &ours)))));
    assert!(!rooms(without_certificate(comet.grpc)));
    assert!(!rooms(dial(&runtime, comet.grpc, None)));
    assert!(!rooms(dial(&runtime, comet.grpc, Some(foreign.shows(HERE, &ours)))));
}

/// A foreign comet is not let in, and a foreign logic is not believed.
#[test]
fn foreign_parts_are_no_parts() {
    let runtime = runtime();
    let (ours, foreign) = (Authority::new(), Authority::new());
    let options = Options { tls: Some(ours.shows(HERE, &ours)), ..Options::default() };
    let logic = TestLogic::start(&runtime, &options);
    let stranger = TestComet::start(&runtime, "stranger", logic.addr, Some(foreign.shows(HERE, &ours)), |addr| addr);
    let deceived = TestComet::start(&runtime, "deceived", logic.addr, Some(foreign.shows(HERE, &foreign)), |addr| addr);
    // Both have tried while this one is let in, and each is told no again and again.
    let comet = TestComet::start(&runtime, "comet", logic.addr, Some(ours.shows(HERE, &ours)), |addr| addr);
    comet.wait_for_lane(&logic);
    for other in [&stranger, &deceived] {
        assert!(!other.link.is_up());
        let mut client = support::Client::connect(other.comet.tcp()[0]);
        client.auth(1, "a", "");
        until("nobody is let in there", || client.next().is_none().then_some(()));
    }
    assert_eq!(logic.comets.lane_infos().len(), 1);
    assert_eq!(logic.registry.by_mid(1), []);
}

#[test]
fn a_name_that_is_not_in_the_certificate_is_not_called() {
    let runtime = runtime();
    let ours = Authority::new();
    let options = Options { tls: Some(ours.shows("logic.internal", &ours)), ..Options::default() };
    let logic = TestLogic::start(&runtime, &options);
    assert!(!is_answered(&runtime, dial(&runtime, logic.addr, Some(ours.shows(HERE, &ours)))));
}
