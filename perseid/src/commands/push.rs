//! `perseid push`: push as a business does, over the HTTP API.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::cli::PushArgs;

/// Pushes one message and prints the answer.
///
/// # Errors
/// No API there, or a refusal.
pub fn run(args: &PushArgs) -> Result<ExitCode> {
    let message = message(args)?;
    let token = args.token.as_deref().map(token).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(post(&args.api, "/v1/messages", token, message.to_string()))?;
    let answer: Value = serde_json::from_slice(&body)
        .with_context(|| format!("{} answered {status} with something that is no JSON: is it the push API?", args.api))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{answer}")?;
    } else if status.is_success() {
        let field = |name: &str| answer[name].as_str().map_or_else(|| answer[name].to_string(), str::to_owned);
        let again = if answer["duplicate"] == true { " (accepted before)" } else { "" };
        writeln!(out, "accepted {}{again}, recipients {}", field("id"), field("recipients"))?;
    } else {
        eprintln!("refused ({status}): {}", answer["detail"].as_str().unwrap_or("no reason given"));
        if status == hyper::StatusCode::UNAUTHORIZED && args.token.is_none() {
            eprintln!("give one with --token, or make one with: perseid token --api");
        }
    }
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The value of `Authorization`; never shown, also not in logs of debugging.
fn token(given: &str) -> Result<HeaderValue> {
    let text = match given.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("can't read the token in {file}"))?,
        None => given.to_owned(),
    };
    let mut value = HeaderValue::try_from(format!("Bearer {}", text.trim()))
        .ok()
        .filter(|_| !text.trim().is_empty())
        .context("--token is no token: it is one word, as `perseid token --api` prints it; @FILE names a file with that word")?;
    value.set_sensitive(true);
    Ok(value)
}

fn message(args: &PushArgs) -> Result<Value> {
    let target = &args.target;
    let to = if target.all {
        json!({ "all": true })
    } else if let Some(group) = target.group {
        json!({ "group": group })
    } else if let Some(room) = &target.room {
        json!({ "room": room })
    } else if target.key.is_empty() {
        json!({ "mids": target.mid })
    } else {
        json!({ "keys": target.key })
    };
    let mut message = json!({ "to": to, "op": args.op });
    match (&args.base64, &args.body) {
        (Some(base64), _) => message["body_base64"] = base64.as_str().into(),
        (None, Some(body)) => match String::from_utf8(super::send::body(body)?) {
            Ok(text) => message["body"] = text.into(),
            Err(bytes) => message["body_base64"] = STANDARD.encode(bytes.as_bytes()).into(),
        },
        (None, None) => bail!("a body is needed: text, - for stdin, or --base64"),
    }
    let optional = [
        ("id", args.id.clone().map(Value::from)),
        ("ttl_ms", args.ttl_ms.map(Value::from)),
        ("speed", args.speed.map(Value::from)),
        ("store", args.store.then_some(Value::Bool(true))),
        ("from", args.from.map(Value::from)),
        ("priority", args.priority.clone().map(Value::from)),
        ("collapse", args.collapse.clone().map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            message[name] = value;
        }
    }
    Ok(message)
}

async fn post(api: &str, path: &str, token: Option<HeaderValue>, body: String) -> Result<(hyper::StatusCode, Bytes)> {
    let base: Uri = api.parse().with_context(|| format!("{api} is no URL"))?;
    if base.scheme_str() != Some("http") {
        bail!("{api}: only http:// URLs are supported");
    }
    let Some(authority) = base.authority() else { bail!("{api} names no host") };
    let addr = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let stream = tokio::net::TcpStream::connect(&addr)
        .await
        .with_context(|| format!("can't connect to {addr}: is a server running there?"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", authority.as_str())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    if let Some(token) = token {
        request.headers_mut().insert(AUTHORIZATION, token);
    }
    let response = sender.send_request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
