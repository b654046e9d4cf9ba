//! The list of sections and keys. Everything else about the configuration is derived from it: the
//! structs, the checks, `config print`, docs/configuration.md.
//!
//! A new key needs a measured reason. Its doc is one paragraph, names units, and is the text of
//! the struct's field and of the documentation alike.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use perseid_outbound::TargetPolicy;

use super::bytes::{GIB, KIB, MIB, TIB};
use super::key::{Apply, Key, Section};
use super::kind::{Kind, bytes, count, integer, millis, number};
use super::table::settings;
use super::value::{Auth, History, HookFailure, LogFormat, Post, Setting, TlsVersion, Value};

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// `comet.wss` where there are certificates and it is not set.
pub(super) const WSS_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3103);

settings! {
    /// The process itself.
    node: Node {
        /// The name of this node in logs, metrics and the registry. Empty: the host's name.
        id: String = "", Kind::Text, Restart;
        /// Where the event log lives. A directory that another process uses is refused.
        data_dir: PathBuf = "perseid-data", Kind::Path, Restart, "--data-dir";
        /// After SIGTERM or SIGINT everything is finished and written within this time.
        shutdown_ms: u64 = "30000", millis(0, HOUR_MS), Restart;
        /// Says aloud that listening beyond loopback with `auth = "insecure"` is meant: anyone
        /// who reaches such an address may be any user.
        insecure: bool = "false", Kind::Flag, Restart, "--insecure";
        /// This node's part of message ids. Two nodes of one cluster must not share it.
        snowflake_worker: u16 = "0", count(0, 1023), Restart;
    }

    /// Where clients connect, and what one of them may cost.
    comet: Comet {
        /// Where TCP clients connect. Port 0 picks a free one; an empty list listens nowhere.
        tcp: Vec<SocketAddr> = "127.0.0.1:3101", Kind::Addresses, Restart, "--tcp";
        /// Where WebSocket clients connect, on the path `/sub`.
        ws: Vec<SocketAddr> = "127.0.0.1:3102", Kind::Addresses, Restart, "--ws";
        /// Where TCP clients connect behind TLS, with the certificates of `[tls]`.
        tls: Vec<SocketAddr> = "", Kind::Addresses, Restart, "--tls";
        /// Where WebSocket clients connect behind TLS, on the path `/sub`, with the certificates of
        /// `[tls]`. Where there are certificates, and this is not set, it is `127.0.0.1:3103`.
        wss: Vec<SocketAddr> = "", Kind::Addresses, Restart, "--wss";
        /// Where jobs push to this comet over gRPC: goim's, and in a `perseid comet` ours. Beyond loopback it
        /// needs the certificates of `[cluster]`.
        grpc: Vec<SocketAddr> = "127.0.0.1:3109", Kind::Addresses, Restart, "--comet-grpc";
        /// Threads that serve sessions. 0: one per core.
        workers: usize = "0", count(0, 64), Restart;
        /// A connection that has not sent its AUTH after this time is closed.
        handshake_ms: u64 = "8000", millis(1, HOUR_MS), Reload;
        /// How often a client is told to send a heartbeat.
        heartbeat_ms: u64 = "240000", millis(10, DAY_MS), Reload;
        /// A session that was silent for this many heartbeats is closed.
        heartbeat_max: u32 = "2", count(1, 100), Reload;
        /// A session whose socket took nothing for this time, while something waited for it, is
        /// closed as a slow consumer.
        write_stall_ms: u64 = "10000", millis(10, HOUR_MS), Reload;
        /// After losing its connection a client waits a random time up to this before it comes
        /// back.
        reconnect_ms: u64 = "10000", millis(0, HOUR_MS), Reload;
        /// The longest body of an AUTH frame.
        auth_bytes_max: usize = "8KiB", bytes(64, MIB), Reload;
        /// The longest body of any other frame from a client.
        body_bytes_max: usize = "64KiB", bytes(64, MIB), Reload;
        /// The longest WebSocket message from a client; it may hold several whole frames.
        message_bytes_max: usize = "1MiB", bytes(512, 16 * MIB), Reload;
        /// The most fragments that one WebSocket message may come in.
        fragments_max: u32 = "4096", count(1, 1_000_000), Reload;
        /// The most that may wait for one slow session; above it pushes are dropped, those of low
        /// priority first and of them the oldest, and counted. A session that stays slow is closed
        /// (`write_stall_ms`).
        session_bytes_max: usize = "4MiB", bytes(KIB, GIB), Reload;
        /// The most that may wait for all sessions of this process, half-read input included; above
        /// it pushes of slow sessions are dropped in the same order, and counted.
        node_bytes_max: usize = "512MiB", bytes(MIB, TIB), Restart;
        /// How many sessions a second are told to leave when the node shuts down or drains.
        drain_rate: u32 = "5000", integer(1, 1_000_000, "per second"), Reload;
        /// The most operations that one session may accept.
        subscriptions_max: usize = "1000", count(1, 1000), Reload;
        /// The longest room id.
        room_id_bytes_max: usize = "256", bytes(4, 256), Reload;
        /// The most sessions of this process. 0: as many as file descriptors allow, some of which are
        /// kept for HTTP and the log.
        sessions_max: usize = "0", count(0, 100_000_000), Reload;
        /// Proxies in front of the clients' ports: what they say of whom they speak for is believed, in PROXY headers
        /// (`comet.proxy_protocol`) and in `X-Forwarded-For` of WebSocket upgrades.
        proxies: Vec<IpNet> = "", Kind::Networks, Reload;
        /// Kinds of listeners (`tcp`, `ws`, `tls`, `wss`) where each connection has to begin with a PROXY header, version 1 or
        /// 2, from one of `comet.proxies`. Any other connection there is closed, and counted.
        proxy_protocol: Vec<String> = "", Kind::Texts, Reload;
        /// Origins whose web pages may open a WebSocket: `https://app.example`, `https://*.app.example`, `*` for all that have
        /// one, `null` for those that have none. With `auth = "insecure"` they come on top of pages of this machine and of this
        /// node's own name; elsewhere an empty list means any. Clients that are no browsers send no origin and are let in.
        origins: Vec<String> = "", Kind::Texts, Reload;
        /// Names by which WebSocket clients may call this node (`Host`), beside its addresses and `localhost`; `*.example.org`
        /// is all below. With `auth = "insecure"` any other name is refused, unless it has no dot and no page asks; elsewhere
        /// an empty list means any.
        hosts: Vec<String> = "", Kind::Texts, Reload;
    }

    /// How many may come, and how fast; 0 is no limit everywhere. What is refused is counted in
    /// `perseid_limited_total`. IPv6 addresses count by their /64. Sessions that are there stay when a limit is lowered.
    limit: Limit {
        /// How many connections a second may begin their handshake (TLS, upgrade, AUTH), over the whole node. Those above it
        /// are closed before anything is done for them.
        handshakes_per_second: u32 = "5000", integer(0, 10_000_000, "per second"), Reload;
        /// How many of these may come at once after a pause. 0: as many as in a second.
        handshakes_burst: u32 = "10000", count(0, 10_000_000), Reload;
        /// How many connections may be in their handshake at a time, over the whole node.
        handshakes_max: usize = "20000", count(0, 100_000_000), Reload;
        /// How many connections a second may come from one address. Those above it are closed; behind a proxy that names its
        /// clients in `X-Forwarded-For` they get HTTP 429.
        connects_per_address_per_second: u32 = "0", integer(0, 1_000_000, "per second"), Reload;
        /// How many of these may come at once after a pause. 0: as many as in a second.
        connects_per_address_burst: u32 = "0", count(0, 1_000_000), Reload;
        /// The most sessions from one address at a time. One more is refused with CONNECTION_LIMIT, before it is asked who it
        /// is.
        sessions_per_address_max: u32 = "0", count(0, 100_000_000), Reload;
        /// How many frames (and WebSocket pings) a second one session may send. One that sends more is ended with
        /// RATE_LIMITED.
        frames_per_second: u32 = "0", integer(0, 10_000_000, "per second"), Reload;
        /// How many of these may come at once after a pause. 0: as many as in a second.
        frames_burst: u32 = "0", count(0, 10_000_000), Reload;
        /// How many bytes a second one session may send, as they are on the wire. One that sends more is ended with
        /// RATE_LIMITED.
        bytes_per_second: u32 = "0", bytes(0, GIB), Reload;
        /// How many of these may come at once after a pause. It is never less than one frame of `comet.body_bytes_max` and
        /// 128 KiB. 0: as many as in a second.
        bytes_burst: u32 = "0", bytes(0, GIB), Reload;
        /// How many frames (and WebSocket pings) a second one user may send, with all sessions on this node together. The session
        /// that sends one more is ended with RATE_LIMITED. Guests count by session only.
        frames_per_user_per_second: u32 = "0", integer(0, 10_000_000, "per second"), Reload;
        /// How many of these may come at once after a pause. 0: as many as in a second.
        frames_per_user_burst: u32 = "0", count(0, 10_000_000), Reload;
        /// How many bytes a second one user may send, with all sessions on this node together, as they are on the wire. The
        /// session that sends more is ended with RATE_LIMITED.
        bytes_per_user_per_second: u32 = "0", bytes(0, GIB), Reload;
        /// How many of these may come at once after a pause, at least as for `bytes_burst`. 0: as many as in a second.
        bytes_per_user_burst: u32 = "0", bytes(0, GIB), Reload;
        /// The most rooms of this node with somebody in them. To join a new one is refused then: extended sessions get ERROR
        /// UNAVAILABLE and stay where they are, classic ones, and AUTH with a room, are ended with OVERLOADED.
        rooms_max: usize = "0", count(0, 100_000_000), Reload;
        /// Networks to which the limits of handshakes and of addresses do not apply. Behind a proxy that names its clients,
        /// theirs are what counts.
        exempt: Vec<IpNet> = "127.0.0.0/8, ::1", Kind::Networks, Reload;
    }

    /// What is shown on the TLS ports (`comet.tls`, `comet.wss`). SIGHUP reads the files again: new
    /// connections get what they say now, sessions that are there go on.
    tls: Tls {
        /// Certificate chains, files in PEM, the server's own certificate first in each. A client is
        /// shown the one for the name that it asks for (SNI), else the first.
        certificates: Vec<String> = "", Kind::Texts, Reload;
        /// The private keys of `certificates`, files in PEM, in the same order.
        keys: Vec<String> = "", Kind::Texts, Reload;
        /// The oldest version that is spoken.
        min_version: TlsVersion = "1.2", Kind::Choice(TlsVersion::WORDS), Reload;
        /// How many TLS 1.2 sessions of clients without tickets are remembered, so that they come
        /// back without a full handshake. Tickets need no memory here; their keys rotate every six
        /// hours.
        cache_max: usize = "1024", count(0, 1_000_000), Reload;
    }

    /// How pushes to rooms trade delay for writes. A lone message always leaves at once.
    room: Room {
        /// How much of a room's recent frames is kept for members that lag behind: in each worker,
        /// once for each encoding (TCP, WebSocket, classic, extended) that somebody there listens to.
        ring_bytes_max: usize = "8MiB", bytes(64 * KIB, GIB), Reload;
        /// The share of a worker's time that the passes over one room may take. A smaller share
        /// makes larger batches: less CPU, more delay.
        share: f64 = "0.5", number(0.05, 1.0), Reload;
        /// The longest rest between two passes over a room.
        rest_ms_max: u64 = "200", millis(0, 60 * SECOND_MS), Reload;
        /// The least time between two passes over a busy room. 0: only the load itself makes
        /// batches.
        pace_ms: u64 = "0", millis(0, 60 * SECOND_MS), Reload;
    }

    /// Rooms by their type, the part of their id before `://`.
    rooms: Rooms {
        /// Types whose rooms keep their last frames, and how many: who comes back gets what he missed.
        /// `{ live = 100 }`. Rooms of other types keep nothing, as in goim.
        recovery: BTreeMap<String, u64> = "", Kind::Counts { max: 10_000 }, Restart;
    }

    /// Stored messages: inboxes, conversations, groups.
    stored: Stored {
        /// The largest body of a stored message, from clients and from the push API.
        body_bytes_max: usize = "64KiB", bytes(KIB, MIB), Reload;
        /// The largest page of messages.
        page_bytes_max: usize = "1MiB", bytes(64 * KIB, MIB), Reload;
        /// How many messages are kept in an inbox. Older ones stay in their conversations.
        inbox_max: u64 = "10000", count(100, 10_000_000), Restart;
        /// How long messages are kept in an inbox, in days.
        inbox_days: u64 = "30", integer(1, 3650, "days"), Restart;
        /// How many messages are kept in a conversation.
        timeline_max: u64 = "100000", count(100, 100_000_000), Restart;
        /// How long messages are kept in a conversation, in days.
        timeline_days: u64 = "365", integer(1, 36_500, "days"), Restart;
        /// How long a message can be taken back by who sent it.
        recall_ms: u64 = "120000", millis(0, 30 * DAY_MS), Reload;
        /// Largest group that is written to every member's inbox; a larger one has to be a channel.
        fanout_max: usize = "500", count(2, 10_000), Reload;
        /// What a new member may read of a group's past: `all`, or what came since he `joined`.
        history: History = "all", Kind::Choice(History::WORDS), Reload;
        /// Who may write in channels: `members`, or the `owner` alone.
        post: Post = "owner", Kind::Choice(Post::WORDS), Reload;
        /// How many messages a user may send per second, and as many at once, over all his sessions. 0: any number.
        sends_per_second: u32 = "0", count(0, 1_000_000), Reload;
        /// What is applied and not yet written to the store may hold so much memory; above it deliveries wait, answers
        /// to senders do not.
        uncommitted_bytes_max: usize = "64MiB", bytes(MIB, GIB), Restart;
        /// What the store keeps in memory of where inboxes and conversations stand, so that it need not be read again.
        cache_bytes_max: usize = "64MiB", bytes(MIB, 64 * GIB), Restart;
        /// What it keeps in memory of the messages of the last two hours, by which repetitions are known. What does not
        /// fit is looked up on disk.
        dedupe_bytes_max: usize = "128MiB", bytes(MIB, 64 * GIB), Restart;
        /// What stored messages may take on disk; above it the oldest go before their time. 0: no limit.
        disk_bytes_max: u64 = "0", bytes(0, 64 * TIB), Restart;
    }

    /// The push API and what is decided about sessions.
    logic: Logic {
        /// Where the push API, the console page, health and metrics are served.
        http: Vec<SocketAddr> = "127.0.0.1:3111", Kind::Addresses, Restart, "--http";
        /// How clients prove who they are. `insecure`: they are believed, as in goim. `jwt`: they
        /// bring a token that is signed with one of the keys of `[jwt]`. `hook`: the server of
        /// `[auth_hook]` is asked.
        auth: Auth = "insecure", Kind::Choice(Auth::WORDS), Restart;
        /// The file of the API tokens (TOML; `perseid token --api` makes entries). Empty: callers need none where
        /// `auth = "insecure"`, and nobody may call elsewhere. SIGHUP reads the file again.
        api_tokens: PathBuf = "", Kind::Text, Restart;
        /// Names that this node is called by in HTTP's `Host`, beside its addresses and `localhost`; `*.example.org` is all
        /// below. With `auth = "insecure"` any other name is refused, which keeps web pages from reaching a node
        /// behind a browser; elsewhere an empty list means any name.
        hosts: Vec<String> = "", Kind::Texts, Reload;
        /// Origins whose web pages may call the HTTP API, beside the node's own: `https://app.example`,
        /// `https://*.app.example`. `*` means all that have one, `null` those that have none; both are errors where callers
        /// need not prove who they are.
        origins: Vec<String> = "", Kind::Texts, Reload;
        /// Where comets in processes of their own, goim's among them, reach this logic over gRPC. An empty
        /// list listens nowhere. Beyond loopback it needs the certificates of `[cluster]`.
        grpc: Vec<SocketAddr> = "127.0.0.1:3119", Kind::Addresses, Restart, "--logic-grpc";
        /// Threads that serve HTTP.
        http_threads: usize = "1", count(1, 64), Restart;
        /// The longest body of an HTTP request.
        request_bytes_max: usize = "1MiB", bytes(KIB, 64 * MIB), Reload;
        /// An HTTP request that is not answered after this time ends with an error.
        request_ms: u64 = "10000", millis(10, HOUR_MS), Reload;
        /// The longest body of one transient push.
        push_bytes_max: usize = "1MiB", bytes(64, 2 * MIB - KIB), Reload;
        /// How long the answer to an idempotency key is remembered.
        idempotency_ms: u64 = "86400000", millis(0, 30 * DAY_MS), Restart;
        /// The most memory that remembered answers may take; the oldest are forgotten first.
        idempotency_bytes_max: usize = "64MiB", bytes(0, 64 * GIB), Restart;
        /// The most messages of one batch request.
        batch_max: usize = "1000", count(1, 100_000), Reload;
        /// The most keys or mids that one push may name.
        targets_max: usize = "10000", count(1, 1_000_000), Reload;
        /// The most sessions of one user at a time. One more is refused with CONNECTION_LIMIT; guests
        /// are not counted. 0: any number.
        sessions_per_user_max: usize = "0", count(0, 1_000_000), Reload;
        /// Above `sessions_per_user_max` the user's oldest session makes room (REPLACED), instead of
        /// the new one being refused.
        sessions_per_user_replace: bool = "false", Kind::Flag, Reload;
    }

    /// Tokens of clients (RFC 7519), with `logic.auth = "jwt"`. A key is only ever used with the one algorithm of
    /// its kind: RS256 for RSA, ES256 for EC on P-256, EdDSA for Ed25519, HS256 for a secret.
    jwt: Jwt {
        /// A file with public keys in PEM (`-----BEGIN PUBLIC KEY-----`), one or several. Empty: none.
        key_file: PathBuf = "", Kind::Text, Reload;
        /// A file with a secret for HS256, at least 32 bytes; white space around it does not count.
        /// Who knows it can be anybody. Empty: none.
        secret_file: PathBuf = "", Kind::Text, Reload;
        /// A file with a JSON Web Key Set (RFC 7517): at most 256 KiB and 100 keys. Empty: none.
        jwks_file: PathBuf = "", Kind::Text, Reload;
        /// A URL with a JSON Web Key Set, with the same bounds; secrets in it are skipped. It is fetched at
        /// the start, every `refresh_ms` and on SIGHUP. Which servers may be called says `[outbound]`.
        /// Empty: none.
        jwks_url: String = "", Kind::Text, Reload;
        /// From one fetch of `jwks_url` to the next. After one that failed it is tried again after 1 s,
        /// 2 s and so on up to 60 s, but never later than this.
        refresh_ms: u64 = "300000", millis(SECOND_MS, DAY_MS), Reload;
        /// How long the keys of the last good fetch of `jwks_url` count. After that, clients with its
        /// tokens are told to come back later. 0: for ever.
        stale_ms: u64 = "86400000", millis(0, 3650 * DAY_MS), Reload;
        /// Tokens whose key is not known cause a fetch of `jwks_url` at most this often, whoever sends
        /// them.
        unknown_kid_ms: u64 = "10000", millis(SECOND_MS, HOUR_MS), Reload;
        /// One fetch of `jwks_url` takes at most this long. Clients with a key that is not known wait for
        /// it: keep it below `comet.handshake_ms`.
        deadline_ms: u64 = "5000", millis(10, 60 * SECOND_MS), Reload;
        /// For whom tokens must be: one of these must be in the claim `aud`. Empty: it is not looked at.
        audience: Vec<String> = "", Kind::Texts, Reload;
        /// From whom tokens must be: the claim `iss` must be one of these. Empty: it is not looked at.
        issuer: Vec<String> = "", Kind::Texts, Reload;
        /// By how much the clocks of the issuer and of this node may differ. A session ends this long
        /// after its token expires.
        leeway_ms: u64 = "30000", millis(0, HOUR_MS), Reload;
        /// A token that expires later than this from now is refused. 0: any; but every token has to
        /// expire.
        lifetime_ms_max: u64 = "0", millis(0, 3650 * DAY_MS), Reload;
        /// The claim with the user's id, a whole number or its decimal text. Where a token does not
        /// have it, `sub` is taken.
        mid_claim: String = "mid", Kind::Text, Reload;
        /// Lets guests in: tokens with an id of 0 or below.
        guests: bool = "false", Kind::Flag, Reload;
        /// Fields of AUTH that have to be what the token's claim of the same name says, if it has one:
        /// `key`, `device_id`, `platform`, `room_id`. So a token counts only for that device, or only for
        /// that room at the start.
        bind: Vec<String> = "", Kind::Texts, Reload;
    }

    /// Who says who clients are, with `logic.auth = "hook"`. What changes here counts from SIGHUP on, and nothing is
    /// remembered of before.
    auth_hook: AuthHook {
        /// The URL that is asked with POST. Which servers may be called says `[outbound]`.
        url: String = "", Kind::Text, Reload;
        /// One call takes at most this long. Clients wait for it: keep it below `comet.handshake_ms`.
        deadline_ms: u64 = "3000", millis(10, 60 * SECOND_MS), Reload;
        /// The most calls at a time; above it clients are told to come back.
        concurrency_max: usize = "64", count(1, 10_000), Reload;
        /// How long it is remembered that a client was accepted, so that it can come back without another
        /// call; never beyond `expires_at_ms` of the answer. Refusals: 2 s at most. 0: nothing.
        cache_ms: u64 = "30000", millis(0, DAY_MS), Reload;
        /// How many accepted clients are remembered, about 150 bytes each; the oldest are forgotten first.
        cache_max: usize = "100000", count(0, 10_000_000), Reload;
        /// What becomes of clients when it fails. `refuse`: they are told to come back. `guest`: they are
        /// let in as guests.
        on_failure: HookFailure = "refuse", Kind::Choice(HookFailure::WORDS), Reload;
        /// A file with the secrets that questions are signed with, as webhooks are: one a line, at least 16
        /// bytes each; all of them sign. Empty: they are not signed.
        secret_file: PathBuf = "", Kind::Text, Reload;
    }

    /// Calls of this node to servers of others: where keys of tokens come from, who is asked about clients. Redirects
    /// are never followed, and proxies of the environment are not used.
    outbound: Outbound {
        /// Networks that may be called beside public addresses, as in `10.1.0.0/16`, and those that may be
        /// called without TLS. Empty: none, but that a node that listens on loopback only may call its own
        /// machine.
        targets_allowed: Vec<IpNet> = "", Kind::Networks, Reload;
        /// A file with root certificates in PEM that are trusted beside the system's. Empty: none.
        ca_file: PathBuf = "", Kind::Text, Reload;
    }

    /// What `GET /goim/nodes/weighted` tells goim's clients.
    goim: Goim {
        /// The domain that resolves to the comets.
        domain: String = "conn.goim.io", Kind::Text, Reload;
        /// Appended to a comet's host name for web clients.
        host_domain: String = ".goim.io", Kind::Text, Reload;
        /// The port that TCP clients are told.
        tcp_port: u16 = "3101", count(0, 65_535), Reload;
        /// The port that WebSocket clients are told.
        ws_port: u16 = "3102", count(0, 65_535), Reload;
        /// The port that clients of WebSocket over TLS are told.
        wss_port: u16 = "3103", count(0, 65_535), Reload;
        /// The longest wait between two attempts to connect.
        backoff_max_delay: u32 = "300", integer(0, 86_400, "s"), Reload;
        /// The first wait between two attempts to connect.
        backoff_base_delay: u32 = "3", integer(0, 86_400, "s"), Reload;
        /// By how much each wait is longer than the last.
        backoff_factor: f64 = "1.8", number(1.0, 100.0), Reload;
        /// The random part of each wait.
        backoff_jitter: f64 = "0.3", number(0.0, 1.0), Reload;
    }

    /// The embedded event log.
    log: Log {
        /// The length of one segment file. It is written with zeros ahead of need.
        segment_bytes: u64 = "64MiB", bytes(4 * MIB, GIB), Restart;
        /// The oldest segments are deleted when the log is longer than this.
        retention_bytes: u64 = "1GiB", bytes(MIB, 1024 * TIB), Restart;
        /// A segment is deleted when its last record is older than this.
        retention_ms: u64 = "86400000", millis(SECOND_MS, 3650 * DAY_MS), Restart;
        /// After a sync that carried two or more records the writer rests this long, so that the
        /// next one carries more. A lone record never waits.
        rest_us: u64 = "1000", integer(0, 1_000_000, "µs"), Restart;
        /// The most that may wait to be written; above it a push is answered with 503.
        queue_bytes_max: usize = "64MiB", bytes(4 * MIB, 64 * GIB), Restart;
    }

    /// What the business is told of: `session.online`, `session.offline` and `upstream` (docs/events.md).
    events: Events {
        /// Events that are written to the log even if no webhook wants them: for `GET /v1/events`.
        /// With one of the two of a session both are.
        keep: Vec<String> = "", Kind::Texts, Restart;
        /// For a webhook that is behind, the log is kept longer than `log.retention_bytes` and
        /// `log.retention_ms` say: up to this length, and up to the age of `hold_ms_max`.
        hold_bytes_max: u64 = "4GiB", bytes(MIB, 1024 * TIB), Restart;
        /// The age up to which the log is kept for a webhook that is behind. It gets no event that is older.
        hold_ms_max: u64 = "259200000", millis(SECOND_MS, 3650 * DAY_MS), Restart;
    }

    /// Webhooks: events are posted to them, signed, in order, at least once. Which servers may be called says `[outbound]`.
    hooks: Hooks {
        /// Where events are posted: each URL gets all of them, at its own pace. Empty: nowhere.
        urls: Vec<String> = "", Kind::Texts, Restart;
        /// Which events.
        events: Vec<String> = "session.online, session.offline, upstream", Kind::Texts, Restart;
        /// A file with the secrets that requests are signed with: one a line, at least 16 bytes each;
        /// all of them sign, so that one can be replaced by another. Read again on SIGHUP.
        secret_file: PathBuf = "", Kind::Text, Reload;
        /// The most events of one request.
        batch_events_max: usize = "100", count(1, 10_000), Restart;
        /// The most that the events of one request may take, about; one that takes more goes alone.
        batch_bytes_max: usize = "256KiB", bytes(KIB, 16 * MIB), Restart;
        /// How long a request that is not full waits for more events.
        linger_ms: u64 = "20", millis(0, 60 * SECOND_MS), Restart;
        /// A request that is not answered after this time has failed.
        deadline_ms: u64 = "5000", millis(10, HOUR_MS), Restart;
        /// The longest wait between two tries.
        retry_ms_max: u64 = "60000", millis(10, HOUR_MS), Restart;
        /// An event that the receiver refuses for what it says (400, 409, 413, 422 and the like) so often is
        /// given up. Whatever else goes wrong is tried again until the event is too old.
        refusals_max: u32 = "5", count(1, 1000), Restart;
    }

    /// The way from the event log to the comets.
    job: Job {
        /// The most that may wait for one worker of the comet to take it.
        lane_bytes_max: usize = "64MiB", bytes(64 * KIB, 64 * GIB), Restart;
    }

    /// The parts in processes of their own.
    cluster: Cluster {
        /// Where a `perseid comet` finds logics, each HOST:PORT. One at a time is used, the next one when
        /// that is lost.
        logics: Vec<String> = "", Kind::Texts, Restart;
        /// Where jobs reach this comet, HOST:PORT. Empty: the first of `comet.grpc` as bound; when that is
        /// all addresses of the machine, the one that logic sees.
        advertise: String = "", Kind::Text, Restart;
        /// Sessions of a comet whose connection to logic is gone stay registered this long.
        lease_ms: u64 = "15000", millis(SECOND_MS, HOUR_MS), Restart;
        /// The most that may wait for one comet in another process; above it pushes for it are dropped, and
        /// counted.
        lane_bytes_max: usize = "64MiB", bytes(64 * KIB, 64 * GIB), Restart;
        /// This process's certificate (PEM) for gRPC between the parts. With it, `key` and `ca` both sides
        /// of each connection prove who they are. Empty: in the clear.
        certificate: PathBuf = "", Kind::Text, Restart;
        /// The key of `certificate` (PEM).
        key: PathBuf = "", Kind::Text, Restart;
        /// The authority (PEM) that the other side's certificate must come from.
        ca: PathBuf = "", Kind::Text, Restart;
        /// The gRPC addresses of goim's comets that use this logic, each NAME=HOST:PORT. Pushes to sessions
        /// of one that is not named here are dropped.
        goim_comets: Vec<String> = "", Kind::Texts, Restart;
    }

    /// Logs of the process, on stderr.
    telemetry: Telemetry {
        /// The form of the log. `auto`: text on a terminal, else one JSON object a line.
        format: LogFormat = "auto", Kind::Choice(LogFormat::WORDS), Restart, "--log";
        /// What is logged: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or a
        /// filter by module as in `info,perseid_comet=debug`.
        level: String = "info", Kind::Filter, Reload, "--log-level";
    }

    /// Traces (OpenTelemetry), in a build with the feature `otel`.
    trace: Trace {
        /// The collector that spans are sent to, OTLP over gRPC, as in `http://127.0.0.1:4317`. Empty: no
        /// spans are made; what callers say in `traceparent` is still passed on.
        endpoint: String = "", Kind::Text, Restart;
        /// The share of traces that are sampled among those that begin here, that is, of requests without
        /// a `traceparent`. With one, its caller has decided.
        sample_ratio: f64 = "0.01", number(0.0, 1.0), Reload;
        /// What this service is called in traces.
        service_name: String = "perseid", Kind::Text, Restart;
    }
}

impl Settings {
    /// Every listening address with the path of its key.
    pub fn listeners(&self) -> Vec<(&'static str, SocketAddr)> {
        let lists = [
            ("comet.tcp", &self.comet.tcp[..]),
            ("comet.ws", &self.comet.ws),
            ("comet.tls", &self.comet.tls),
            ("comet.wss", &self.comet.wss),
            ("comet.grpc", &self.comet.grpc),
            ("logic.http", &self.logic.http),
            ("logic.grpc", &self.logic.grpc),
        ];
        lists.into_iter().flat_map(|(path, list)| list.iter().map(move |address| (path, *address))).collect()
    }

    /// Which servers this node may call.
    pub fn targets(&self) -> TargetPolicy {
        let on_loopback_only = self.listeners().iter().all(|(_, address)| address.ip().to_canonical().is_loopback());
        TargetPolicy::for_node(&self.outbound.targets_allowed, on_loopback_only)
    }

    /// The listening addresses that others than this machine can reach, and where nobody is asked who
    /// he is: those for clients with `auth = "insecure"`, that for callers if they need no token either,
    /// those between the parts without certificates. They exist only if `node.insecure` says so, and
    /// deserve a warning.
    pub fn exposed(&self) -> Vec<(&'static str, SocketAddr)> {
        let mut listeners = self.listeners();
        let needs_token = !self.logic.api_tokens.as_os_str().is_empty();
        let unguarded = |path: &str| match path {
            "comet.grpc" | "logic.grpc" => self.cluster.certificate.as_os_str().is_empty(),
            "logic.http" => self.logic.auth == Auth::Insecure && !needs_token,
            _ => self.logic.auth == Auth::Insecure,
        };
        listeners.retain(|(path, address)| unguarded(path) && !address.ip().to_canonical().is_loopback());
        listeners
    }
}

/// All keys, in the order of the table.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}
