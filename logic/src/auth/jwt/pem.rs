//! Public keys in PEM (RFC 7468).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::{KeyError, VerifyingKey};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// All public keys of a text; what stands between them is ignored, as RFC 7468 wants it.
pub(super) fn read(text: &str) -> Result<Vec<VerifyingKey>, KeyError> {
    let mut keys = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(label) = line.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix("-----")) else { continue };
        let mut base64 = String::new();
        loop {
            match lines.next().map(str::trim) {
                Some(line) if line.starts_with(END) => break,
                Some(line) => base64.push_str(line),
                None => return Err(KeyError::new(format!("{label} has a beginning and no end"))),
            }
        }
        keys.push(key(label, &base64)?);
    }
    if keys.is_empty() {
        return Err(KeyError::new("there is no -----BEGIN PUBLIC KEY----- in it"));
    }
    Ok(keys)
}

fn key(label: &str, base64: &str) -> Result<VerifyingKey, KeyError> {
    let der = || STANDARD.decode(base64).map_err(|_| KeyError::new(format!("{label} is not base64")));
    match label {
        "PUBLIC KEY" => VerifyingKey::from_public_key_info(&der()?),
        "RSA PUBLIC KEY" => VerifyingKey::from_rsa_public_key(&der()?),
        _ if label.contains("PRIVATE KEY") => Err(KeyError::new(
            "there is a private key in it, which belongs to whoever issues tokens and not here: \
             take the public half with openssl pkey -in private.pem -pubout",
        )),
        "CERTIFICATE" => {
            Err(KeyError::new("there is a certificate in it: take its key with openssl x509 -in certificate.pem -pubkey -noout"))
        }
        _ => Err(KeyError::new("there is something in it that is no PUBLIC KEY")),
    }
}
