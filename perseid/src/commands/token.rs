//! `perseid token`: sign a development token, or say what a server would say to one.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use perseid_logic::auth::jwt::secret_bytes;
use perseid_logic::{AuthContext, AuthError, Authenticator, Identity, JwtAuth};
use perseid_protocol::auth::AuthRequest;
use serde_json::{Map, Value, json};

use super::config::load_or_report;
use crate::cli::TokenArgs;
use crate::clock::unix_ms;
use crate::config::{Jwt, Settings};
use crate::gate::jwt_config;

/// How long a token is valid if nobody says so, ms.
const TTL_MS: u64 = 3_600_000;

/// Signs a token and prints it, and nothing else; or checks one; or makes one for the push API.
///
/// # Errors
/// No key to sign with, or one that can't be used.
pub fn run(args: &TokenArgs) -> Result<ExitCode> {
    if args.api.api {
        return super::api_token::run(&args.api, args.ttl);
    }
    let settings = match load_or_report(&args.server()) {
        Ok(loaded) => loaded.settings,
        Err(status) => return Ok(status),
    };
    if let Some(token) = &args.check {
        return check(token, &settings);
    }
    let jwt = &settings.jwt;
    let (algorithm, key) = signing_key(args, jwt)?;
    if let Some(wanted) = &args.alg
        && *wanted != format!("{algorithm:?}")
    {
        bail!("the key is for {algorithm:?}, not for {wanted}");
    }
    let header = Header { kid: args.kid.clone(), ..Header::new(algorithm) };
    let token = jsonwebtoken::encode(&header, &claims(args, jwt), &key).context("can't sign with that key")?;
    writeln!(std::io::stdout(), "{token}")?;
    Ok(ExitCode::SUCCESS)
}

fn claims(args: &TokenArgs, jwt: &Jwt) -> Value {
    let now_ms = unix_ms();
    let mut claims = Map::new();
    claims.insert(jwt.mid_claim.clone(), args.mid.unwrap_or_default().into());
    claims.insert("iat".to_owned(), (now_ms / 1000).into());
    // Rounded up, so that a token of less than a second is not over before it begins.
    claims.insert("exp".to_owned(), now_ms.saturating_add(args.ttl.unwrap_or(TTL_MS)).div_ceil(1000).into());
    let audience = if args.aud.is_empty() { &jwt.audience } else { &args.aud };
    match &audience[..] {
        [] => {}
        [one] => drop(claims.insert("aud".to_owned(), one.as_str().into())),
        more => drop(claims.insert("aud".to_owned(), json!(more))),
    }
    if let Some(issuer) = args.iss.as_ref().or(jwt.issuer.first()) {
        claims.insert("iss".to_owned(), issuer.as_str().into());
    }
    claims.extend(args.claim.iter().cloned());
    Value::Object(claims)
}

fn signing_key(args: &TokenArgs, jwt: &Jwt) -> Result<(Algorithm, EncodingKey)> {
    if let Some(path) = &args.key_file {
        return private_key(path);
    }
    let configured = Some(&jwt.secret_file).filter(|path| !path.as_os_str().is_empty());
    let Some(path) = args.secret_file.as_ref().or(configured) else {
        bail!(
            "nothing to sign with: give --secret-file, --key-file, or the --config of a server that has jwt.secret_file \
             (a server with only public keys can't sign)"
        );
    };
    let bytes = read(path)?;
    let secret = secret_bytes(&bytes).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    Ok((Algorithm::HS256, EncodingKey::from_secret(secret)))
}

/// The key says what it is for: only one of these takes it.
fn private_key(path: &Path) -> Result<(Algorithm, EncodingKey)> {
    type FromPem = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;
    const KINDS: [(Algorithm, FromPem); 3] = [
        (Algorithm::ES256, EncodingKey::from_ec_pem),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem),
        (Algorithm::RS256, EncodingKey::from_rsa_pem),
    ];
    let pem = read(path)?;
    let found = KINDS.into_iter().find_map(|(algorithm, from_pem)| Some((algorithm, from_pem(&pem).ok()?)));
    found.ok_or_else(|| {
        anyhow!(
            "{}: no private key in PEM, or not in PKCS #8: openssl pkcs8 -topk8 -nocrypt -in FILE makes it that",
            path.display()
        )
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

fn check(token: &str, settings: &Settings) -> Result<ExitCode> {
    let mut text = token.to_owned();
    if token == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text)?;
    }
    let (answer, status) = match ask(text.trim(), settings)? {
        Ok(identity) => {
            (json!({ "valid": true, "mid": identity.mid, "expires_at_ms": identity.expires_at_ms }), ExitCode::SUCCESS)
        }
        Err(error) => (json!({ "valid": false, "cause": error.cause.word(), "message": error.message }), ExitCode::FAILURE),
    };
    writeln!(std::io::stdout(), "{answer}")?;
    Ok(status)
}

/// What a server with this configuration says, keys from a URL included.
fn ask(token: &str, settings: &Settings) -> Result<Result<Identity, AuthError>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start the runtime")?;
    runtime.block_on(async {
        let auth = JwtAuth::open(&jwt_config(settings), &Arc::default()).context("no keys to check it with")?;
        let request = AuthRequest { token: token.to_owned(), ..AuthRequest::default() };
        let context = AuthContext { peer: None, cookie: "", now_ms: unix_ms(), extended: true, renewal: false };
        Ok(auth.authenticate(&request, &context).get().await)
    })
}
