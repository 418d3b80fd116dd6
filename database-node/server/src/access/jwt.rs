//! JSON Web Tokens (RFC 7519) that somebody else has signed, with the public keys in a file (RFC 7517).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use pliantdb_core::RoleName;
use pliantdb_core::protocol::Secret;
use serde::Deserialize;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// The largest file of keys, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// How far clocks may differ, in seconds.
const LEEWAY_S: u64 = 60;
/// What keys may be for: only algorithms that need a private key to sign.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the JWKS file {} cannot be used: {reason}", .path.display())]
pub struct JwksError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// Which tokens are taken.
pub(crate) struct Jwt {
    path: PathBuf,
    audience: String,
    issuer: Option<String>,
    keys: RwLock<Arc<Vec<Key>>>,
}

/// A public key.
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What a token says.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    /// Who has it.
    #[serde(default)]
    pub(super) sub: String,
    /// Until when it counts, in seconds since the Unix epoch.
    pub(super) exp: u64,
    #[serde(default)]
    roles: Vec<String>,
}

impl Claims {
    /// The roles that it names. What cannot be a role is for somebody else.
    pub(super) fn roles(&self) -> Vec<RoleName> {
        self.roles.iter().filter_map(|role| role.parse().ok()).collect()
    }

    /// Whether it counts at a time, in seconds since the Unix epoch.
    pub(super) fn counts_at(&self, now_s: u64) -> bool {
        now_s < self.exp.saturating_add(LEEWAY_S)
    }
}

impl Jwt {
    /// Reads the keys for the first time.
    ///
    /// # Errors
    /// [`JwksError`].
    pub(crate) fn open(path: &Path, audience: &str, issuer: Option<&str>) -> Result<Self, JwksError> {
        // A program that embeds the server may have built the library with others too. One that chose keeps its choice.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Ok(Self {
            path: path.to_owned(),
            audience: audience.to_owned(),
            issuer: issuer.map(str::to_owned),
            keys: RwLock::new(Arc::new(read(path)?)),
        })
    }

    /// What a token says, if one of the keys has signed it, it counts now, and it is for this server.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(super) fn verify(&self, token: &Secret) -> Result<Claims, String> {
        let token = token.expose();
        let header = decode_header(token).map_err(|error| error.to_string())?;
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let key = match &header.kid {
            Some(id) => keys.iter().find(|key| key.id.as_ref() == Some(id)),
            None => Some(keys.as_slice())
                .filter(|keys| keys.len() == 1)
                .and_then(|keys| keys.first()),
        };
        let key = key.ok_or("it is signed with none of the keys")?;
        // Of the key's algorithm, whatever the token says.
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        }
        let claims = decode::<Claims>(token, &key.key, &validation).map_err(|error| error.to_string())?;
        Ok(claims.claims)
    }

    /// Reads the file again every few seconds, for ever. While it is missing or wrong, the last good keys stay in force.
    pub(super) async fn follow(&self) {
        let mut was_wrong = false;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let path = self.path.clone();
            match tokio::task::spawn_blocking(move || read(&path)).await {
                Ok(Ok(keys)) => {
                    was_wrong = false;
                    *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                }
                Ok(Err(error)) if !was_wrong => {
                    was_wrong = true;
                    tracing::error!(%error, "the last good keys stay in force");
                }
                _ => {}
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<Key>, JwksError> {
    let failed = |reason: String| JwksError {
        path: path.to_owned(),
        reason,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(failed(format!("it is larger than {MAX_FILE} bytes")));
    }
    let set: JwkSet =
        serde_json::from_str(&text).map_err(|error| failed(format!("it is not a set of keys: {error}")))?;
    let mut keys = Vec::new();
    for (at, jwk) in set.keys.iter().enumerate() {
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            continue;
        }
        let algorithm = jwk.common.key_algorithm;
        let known = algorithm.and_then(|algorithm| Algorithm::try_from(algorithm).ok());
        let Some(known) = known.filter(|known| ALGORITHMS.contains(known)) else {
            let names: Vec<_> = ALGORITHMS
                .iter()
                .map(|algorithm| format!("{algorithm:?}"))
                .collect();
            return Err(failed(format!(
                "key {at} (from 0) has {}, and must have an \"alg\" of {}",
                algorithm.map_or("no \"alg\"".to_owned(), |name| format!("the \"alg\" {name:?}")),
                names.join(", ")
            )));
        };
        let key =
            DecodingKey::from_jwk(jwk).map_err(|error| failed(format!("key {at} (from 0): {error}")))?;
        if key.family() != family(known) {
            return Err(failed(format!(
                "key {at} (from 0) is not one for its \"alg\", {known:?}"
            )));
        }
        keys.push(Key {
            id: jwk.common.key_id.clone(),
            algorithm: known,
            key,
        });
    }
    match keys.is_empty() {
        true => Err(failed("it has no key that signs".to_owned())),
        false => Ok(keys),
    }
}

fn family(algorithm: Algorithm) -> jsonwebtoken::AlgorithmFamily {
    use jsonwebtoken::AlgorithmFamily as Family;
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Family::Hmac,
        Algorithm::ES256 | Algorithm::ES384 => Family::Ec,
        Algorithm::EdDSA => Family::Ed,
        _ => Family::Rsa,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    /// A key pair, and its public half as it is written.
    fn key(id: &str) -> (EncodingKey, Value) {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EncodingKey::from_ec_der(pair.as_ref());
        let mut public =
            serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap()).unwrap();
        public["kid"] = id.into();
        public["use"] = "sig".into();
        (key, public)
    }

    fn write(path: &Path, keys: &[&Value]) {
        std::fs::write(path, json!({ "keys": keys }).to_string()).unwrap();
    }

    fn sign(key: &EncodingKey, algorithm: Algorithm, id: Option<&str>, claims: &Value) -> Secret {
        let mut header = Header::new(algorithm);
        header.kid = id.map(str::to_owned);
        Secret::new(encode(&header, claims, key).unwrap())
    }

    fn now() -> u64 {
        jsonwebtoken::get_current_timestamp()
    }

    #[test]
    fn only_what_the_keys_have_signed_for_us_and_now_is_taken() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (key_a, public_a) = key("a");
        let (key_b, public_b) = key("b");
        let (foreign, _) = key("a");
        write(file.path(), &[&public_a, &public_b]);
        let jwt = Jwt::open(file.path(), "pliantdb", Some("https://issuer")).unwrap();
        let claims = |change: &dyn Fn(&mut Value)| {
            let mut claims = json!({
                "sub": "ada", "aud": "pliantdb", "iss": "https://issuer", "exp": now() + 300,
                "roles": ["reader", "not a role!"],
            });
            change(&mut claims);
            claims
        };
        let good = claims(&|_| {});
        for (key, id) in [(&key_a, "a"), (&key_b, "b")] {
            let taken = jwt.verify(&sign(key, Algorithm::ES256, Some(id), &good)).unwrap();
            assert_eq!(
                (taken.sub.as_str(), taken.roles()),
                ("ada", vec!["reader".parse().unwrap()])
            );
            assert!(taken.counts_at(now()) && !taken.counts_at(now() + 1000));
        }
        let refused = |key: &EncodingKey, id: Option<&str>, claims: &Value| {
            jwt.verify(&sign(key, Algorithm::ES256, id, claims)).unwrap_err()
        };
        refused(&foreign, Some("a"), &good);
        refused(&key_a, Some("b"), &good);
        refused(&key_a, Some("c"), &good);
        refused(&key_a, None, &good);
        for wrong in [
            claims(&|claims| claims["exp"] = (now() - 61).into()),
            claims(&|claims| claims["nbf"] = (now() + 120).into()),
            claims(&|claims| claims["aud"] = "others".into()),
            claims(&|claims| claims["iss"] = "https://others".into()),
            claims(&|claims| drop(claims.as_object_mut().unwrap().remove("exp"))),
            claims(&|claims| drop(claims.as_object_mut().unwrap().remove("aud"))),
            claims(&|claims| drop(claims.as_object_mut().unwrap().remove("iss"))),
        ] {
            refused(&key_a, Some("a"), &wrong);
        }
        let late = claims(&|claims| claims["exp"] = (now() - 30).into());
        assert!(
            jwt.verify(&sign(&key_a, Algorithm::ES256, Some("a"), &late))
                .is_ok(),
            "clocks differ"
        );
    }

    #[test]
    fn the_token_does_not_say_how_it_is_checked() {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        let file = tempfile::NamedTempFile::new().unwrap();
        let (signing, public) = key("a");
        write(file.path(), &[&public]);
        let jwt = Jwt::open(file.path(), "pliantdb", None).unwrap();
        let claims =
            json!({ "sub": "eve", "aud": "pliantdb", "exp": now() + 300, "roles": ["administrator"] });
        // The public key as the secret of an HMAC, in every form that somebody may have it in.
        let texts = [public.to_string(), public["x"].as_str().unwrap().to_owned()];
        let point = [
            &[4][..],
            &BASE64.decode(public["x"].as_str().unwrap()).unwrap(),
            &BASE64.decode(public["y"].as_str().unwrap()).unwrap(),
        ]
        .concat();
        for secret in [texts[0].as_bytes(), texts[1].as_bytes(), &point] {
            let forged = sign(
                &EncodingKey::from_secret(secret),
                Algorithm::HS256,
                Some("a"),
                &claims,
            );
            assert!(jwt.verify(&forged).is_err());
        }
        let part = |value: &Value| BASE64.encode(value.to_string());
        for none in ["none", "None", "NONE"] {
            for signature in ["", "AAAA"] {
                let unsigned = format!(
                    "{}.{}.{signature}",
                    part(&json!({ "alg": none, "kid": "a" })),
                    part(&claims)
                );
                assert!(jwt.verify(&Secret::new(unsigned)).is_err());
            }
        }
        let whole = sign(&signing, Algorithm::ES256, Some("a"), &claims);
        assert!(jwt.verify(&whole).is_ok());
        let parts: Vec<_> = whole.expose().split('.').collect();
        let mut other = claims.clone();
        other["sub"] = "root".into();
        for forged in [
            format!("{}.{}.{}", parts[0], part(&other), parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            "a.b.c".to_owned(),
        ] {
            assert!(jwt.verify(&Secret::new(forged)).is_err());
        }
    }

    #[test]
    fn keys_must_say_what_they_are_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (_, good) = key("a");
        let refused = |text: String| {
            std::fs::write(file.path(), text).unwrap();
            Jwt::open(file.path(), "pliantdb", None)
                .err()
                .unwrap()
                .to_string()
        };
        let mut unnamed = good.clone();
        drop(unnamed.as_object_mut().unwrap().remove("alg"));
        let mut other = good.clone();
        other["alg"] = "RS256".into();
        let symmetric = json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "s" });
        for (keys, part) in [
            (json!([unnamed]), "no \"alg\""),
            (json!([other]), "not one for its \"alg\""),
            (json!([good, symmetric]), "key 1"),
            (json!([]), "no key"),
        ] {
            let error = refused(json!({ "keys": keys }).to_string());
            assert!(error.contains(part) && !error.contains("c2VjcmV0"), "{error}");
        }
        assert!(refused("{".to_owned()).contains("not a set of keys"));
        assert!(refused(" ".repeat(2 << 20)).contains("larger than"));
        assert!(Jwt::open(Path::new("/not/there"), "pliantdb", None).is_err());
    }
}
