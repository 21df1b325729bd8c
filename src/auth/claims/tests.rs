//! Tokens of Go's library are read; broken, forged and mutated ones are not, and nothing panics.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::auth::definition::{ExportKind, ImportKind, JetStreamAccess, ResponseType, Sampling};
use crate::auth::vectors::{self, *};
use crate::base::prng::Prng;

const NOW: u64 = 1_900_000_000;

fn key(kind: KeyKind, byte: u8) -> SigningKey {
    SigningKey::from_seed(kind, &[byte; 32]).expect("it can sign")
}

fn signed(claims: Value, key: &SigningKey) -> String {
    let Value::Object(claims) = claims else {
        panic!("claims are an object");
    };
    encode(claims, 1000, key)
}

fn account() -> AccountClaims {
    AccountClaims::decode(ACCOUNT_TOKEN).expect("an account")
}

#[test]
fn operator_of_the_go_library() {
    let decorated = format!(
        "-----BEGIN NATS OPERATOR JWT-----\n{OPERATOR_TOKEN}\n------END NATS OPERATOR JWT------\n"
    );
    for text in [OPERATOR_TOKEN, &decorated] {
        let claims = OperatorClaims::decode(text).expect("an operator");
        assert_eq!(claims.common.subject, OPERATOR);
        assert_eq!(claims.common.issuer, OPERATOR);
        assert_eq!(claims.common.tags, ["env:test"]);
        assert_eq!(claims.signing_keys, [OPERATOR_SIGNING]);
        assert_eq!(claims.system_account, OTHER_ACCOUNT);
        assert_eq!(claims.server_version, [2, 10, 0]);
        assert!(claims.strict_signing_keys);
    }
    assert_eq!(OperatorClaims::decode(USER_TOKEN), Err(ClaimsError::Kind));
    assert_eq!(OperatorClaims::decode(""), Err(ClaimsError::Malformed));
}

#[test]
fn account_of_the_go_library() {
    let claims = account();
    assert_eq!(claims.check(), Ok(()));
    assert_eq!(claims.common.issuer, OPERATOR_SIGNING);
    assert_eq!(claims.common.tags, ["region:eu", "region:us"]);
    let limits = &claims.limits;
    assert_eq!(
        [
            limits.subscriptions,
            limits.payload_bytes,
            limits.connections,
            limits.leafnodes
        ],
        [Some(100), Some(2048), Some(10), Some(2)]
    );
    assert_eq!(
        [limits.data_bytes, limits.imports, limits.exports],
        [None; 3]
    );
    assert!(limits.disallow_bearer && limits.wildcard_exports);
    assert_eq!(limits.tiers["R1"].disk_bytes, 4096);
    assert_eq!(limits.tiers["R3"].disk_bytes, -1);
    assert_eq!(limits.jetstream, JetStreamLimits::default());

    assert_eq!(claims.signer(ACCOUNT, false), Some(None));
    assert_eq!(claims.signer(ACCOUNT, true), None);
    assert_eq!(claims.signer(ACCOUNT_SIGNING, true), Some(None));
    assert_eq!(claims.signer(OTHER_ACCOUNT, false), None);
    let scope = claims.signer(SCOPED, true).flatten().expect("a scope");
    assert_eq!(scope.role, "worker");
    assert_eq!(scope.template.subscriptions, Some(7));
    assert_eq!(scope.template.payload_bytes, None);
    assert_eq!(scope.template.connection_types, ["STANDARD", "WEBSOCKET"]);

    assert!(claims.revocations.covers("*", 500));
    assert!(claims.revocations.covers("U", 500));
    assert!(!claims.revocations.covers("U", 501));
    assert!(claims.authorization.is_enabled());
    assert!(claims.authorization.allows("any"));
    assert_eq!(claims.authorization.xkey, CURVE_9);
    assert!(claims.owns_cluster_traffic);
    let rules = claims.default_permissions.rules().expect("rules");
    assert_eq!(rules.publish.deny, ["secret.>"]);
    // Replies only, as no other publish is allowed by name.
    assert_eq!(rules.publish.allow.as_deref(), Some(&[][..]));
    let responses = rules.responses.expect("responses");
    assert_eq!(responses.max, Some(3));
    assert_eq!(responses.expires.map(|d| d.as_secs()), Some(1));
}

#[test]
fn what_an_account_may_store() {
    let check = |memory_bytes: i64, disk_bytes: i64, tiers: &[(&str, i64)], expected| {
        let mut claims = account();
        claims.limits.jetstream = JetStreamLimits {
            memory_bytes,
            disk_bytes,
            ..JetStreamLimits::default()
        };
        let tier = |&(name, disk_bytes): &(&str, i64)| {
            let limits = JetStreamLimits {
                disk_bytes,
                ..JetStreamLimits::default()
            };
            (name.to_owned(), limits)
        };
        claims.limits.tiers = tiers.iter().map(tier).collect();
        let found = match Arc::new(claims).definition(|_| false).jetstream {
            JetStreamAccess::None => "none",
            JetStreamAccess::Limits(_) => "limits",
            JetStreamAccess::Tiers(_) => "tiers",
        };
        assert_eq!(found, expected);
    };
    check(0, 0, &[], "none");
    check(-1, 0, &[], "limits");
    check(0, 5, &[], "limits");
    check(0, 0, &[("R1", 0)], "none");
    check(0, 0, &[("R1", 0), ("R3", 1)], "tiers");
}

#[test]
fn account_as_definition() {
    let definition = Arc::new(account()).definition(|import| import.subject == "private.a");
    assert_eq!(definition.name, ACCOUNT);
    let JetStreamAccess::Tiers(tiers) = &definition.jetstream else {
        panic!("it has tiers");
    };
    assert_eq!([tiers["R1"].disk_bytes, tiers["R3"].disk_bytes], [4096, -1]);
    assert_eq!(tiers["R1"].ack_pending, -1, "what is not said is no limit");
    let stream = definition
        .exports
        .iter()
        .find(|e| e.subject == "pub.*.>")
        .expect("it");
    assert!(stream.token_required && stream.account_token_position == 2);
    let service = definition
        .exports
        .iter()
        .find(|e| e.subject == "svc.*")
        .expect("it");
    let ExportKind::Service {
        response,
        threshold,
        latency,
        allow_trace,
    } = &service.kind
    else {
        panic!("it is a service");
    };
    assert_eq!(*response, ResponseType::Stream);
    assert_eq!(threshold.map(|t| t.as_secs()), Some(3));
    assert_eq!(
        latency.as_ref().map(|l| l.sampling),
        Some(Sampling::Headers)
    );
    assert!(allow_trace);
    let imports: Vec<_> = definition
        .imports
        .iter()
        .map(|i| {
            (
                i.subject.as_str(),
                i.to.as_deref(),
                i.activated,
                i.kind.clone(),
            )
        })
        .collect();
    assert_eq!(
        imports,
        [
            (
                "private.a",
                Some("local.a"),
                true,
                ImportKind::Stream { allow_trace: true }
            ),
            (
                "req.*",
                Some("my.$1"),
                false,
                ImportKind::Service { share: true }
            ),
        ]
    );
    let mapping = &definition.mappings[0];
    assert_eq!(mapping.source, "m.*");
    assert_eq!(mapping.destinations[0].cluster.as_deref(), Some("c"));
    assert_eq!(mapping.destinations[1].weight, 60);
    assert_eq!(definition.trace.map(|t| t.sampling), Some(25));
    assert_eq!(definition.claims.as_deref(), Some(&account()));
}

#[test]
fn old_ways_to_rename() {
    let read = |value: Value| ImportClaims::read(&value).expect("an import");
    let stream = read(json!({"subject": "a.*", "account": "A", "to": "p", "type": "stream"}));
    assert_eq!(
        (stream.there(), stream.here()),
        ("a.*", Some("p.a.*".into()))
    );
    let service =
        read(json!({"subject": "mine", "account": "A", "to": "theirs", "type": "service"}));
    assert_eq!(
        (service.there(), service.here()),
        ("theirs", Some("mine".into()))
    );
    let plain = read(json!({"subject": "x", "account": "A", "type": "service"}));
    assert_eq!((plain.there(), plain.here()), ("x", None));
}

#[test]
fn user_of_the_go_library() {
    let claims = UserClaims::decode(USER_TOKEN).expect("a user");
    assert_eq!(claims.check(NOW), Ok(()));
    assert_eq!(claims.check(4_102_444_800), Ok(()));
    assert_eq!(claims.check(4_102_444_801), Err(ClaimsError::Expired));
    assert_eq!(claims.account(), ACCOUNT);
    assert_eq!(claims.common.name, "bob");
    assert_eq!(claims.common.tags, ["team:blue", "team:red"]);
    assert!(claims.limits.bearer && !claims.limits.is_empty());
    assert_eq!(claims.limits.subscriptions, Some(5));
    assert_eq!(claims.limits.data_bytes, None);
    assert_eq!(
        claims.limits.restrictions.sources,
        ["10.0.0.0/8", "::1/128"]
    );
    let rules = claims.limits.permissions.rules().expect("rules");
    assert_eq!(
        rules.publish.allow.as_deref(),
        Some(&["a.>".to_owned()][..])
    );
    assert_eq!(rules.subscribe.deny, ["b.* q"]);
    assert_eq!(rules.subscribe.allow, None);
    assert_eq!(rules.responses, Some(Default::default()));
    let scoped = UserClaims::decode(SCOPED_TOKEN).expect("a user");
    assert!(scoped.limits.is_empty());
}

#[test]
fn answers_of_the_go_library() {
    let answer = ResponseClaims::decode(RESPONSE_TOKEN, NOW).expect("an answer");
    assert_eq!(answer.common.audience, SERVER);
    assert_eq!(answer.common.subject, USER);
    let user = UserClaims::decode(&answer.jwt).expect("a user");
    assert_eq!(user.common.audience, "APP");
    let refusal = ResponseClaims::decode(RESPONSE_ERROR_TOKEN, NOW).expect("an answer");
    assert_eq!(refusal.error, "go away");
    assert!(matches!(
        decode(REQUEST_TOKEN),
        Ok(Claims::AuthorizationRequest(_))
    ));
}

#[test]
fn what_is_refused() {
    let account_key = key(KeyKind::Account, 3);
    let user_key = key(KeyKind::User, 7);
    let operator_key = key(KeyKind::Operator, 1);
    let user = |nats: Value| json!({"sub": USER, "nats": nats});
    let cases: Vec<(&str, String, ClaimsError)> = vec![
        ("no dots", "abc".into(), ClaimsError::Malformed),
        (
            "four parts",
            format!("{USER_TOKEN}.x"),
            ClaimsError::Malformed,
        ),
        (
            "too large",
            "a".repeat(TOKEN_BYTES_MAX + 1),
            ClaimsError::TooLarge,
        ),
        (
            "cut signature",
            USER_TOKEN[..USER_TOKEN.len() - 2].into(),
            ClaimsError::Signature,
        ),
        (
            "no signature",
            format!("{}.", USER_TOKEN.rsplit_once('.').expect("dots").0),
            ClaimsError::Signature,
        ),
        (
            "newer",
            signed(user(json!({"type": "user", "version": 3})), &account_key),
            ClaimsError::Version,
        ),
        (
            "no version",
            signed(user(json!({"type": "user"})), &account_key),
            ClaimsError::Version,
        ),
        (
            "user by user",
            signed(user(json!({"type": "user", "version": 2})), &user_key),
            ClaimsError::Issuer,
        ),
        (
            "user by operator",
            signed(user(json!({"type": "user", "version": 2})), &operator_key),
            ClaimsError::Issuer,
        ),
        (
            "account by user",
            signed(
                json!({"sub": ACCOUNT, "nats": {"type": "account", "version": 2}}),
                &user_key,
            ),
            ClaimsError::Issuer,
        ),
        (
            "operator by account",
            signed(
                json!({"nats": {"type": "operator", "version": 2}}),
                &account_key,
            ),
            ClaimsError::Issuer,
        ),
        (
            "server claims",
            signed(
                json!({"nats": {"type": "server", "version": 2}}),
                &account_key,
            ),
            ClaimsError::Kind,
        ),
        (
            "nats is no object",
            signed(json!({"nats": 5}), &account_key),
            ClaimsError::Field("nats"),
        ),
        (
            "fraction",
            signed(
                json!({"exp": 1.5, "nats": {"type": "user", "version": 2}}),
                &account_key,
            ),
            ClaimsError::Field("exp"),
        ),
        (
            "permissions of numbers",
            signed(
                user(json!({"type": "user", "version": 2, "pub": {"allow": [1]}})),
                &account_key,
            ),
            ClaimsError::Field("allow"),
        ),
        ("deep", deep(&account_key), ClaimsError::Json),
    ];
    for (name, token, expected) in cases {
        assert_eq!(decode(&token).map(|_| ()), Err(expected), "{name}");
    }
    // A right signature of somebody else than the issuer named.
    let forged = USER_TOKEN.split('.').take(2).collect::<Vec<_>>().join(".");
    let signature = BASE64URL_NOPAD.encode(&user_key.sign(forged.as_bytes()));
    assert_eq!(
        decode(&format!("{forged}.{signature}")).map(|_| ()),
        Err(ClaimsError::Signature)
    );
}

/// Nested so deep that a recursive reader would overflow its stack.
fn deep(key: &SigningKey) -> String {
    let body = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let body = BASE64URL_NOPAD.encode(body.as_bytes());
    let signature = BASE64URL_NOPAD.encode(&key.sign(body.as_bytes()));
    let header = USER_TOKEN.split('.').next().expect("a header");
    format!("{header}.{body}.{signature}")
}

#[test]
fn headers() {
    let (_, rest) = USER_TOKEN.split_once('.').expect("dots");
    let body = rest.split('.').next().expect("a body");
    let cases = [
        (r#"{"typ":"jwt","alg":"ED25519-NKEY"}"#, true),
        (r#"{"typ":"JWT","alg":"ed25519"}"#, true),
        (r#"{"typ":"JWT","alg":"none"}"#, false),
        (r#"{"typ":"JWT","alg":"HS256"}"#, false),
        (r#"{"typ":"JWT"}"#, false),
        (r#"{"alg":"ed25519-nkey"}"#, false),
        (r#"{"typ":"JWT","alg":7}"#, false),
        ("[]", false),
    ];
    for (header, good) in cases {
        let signed = format!("{}.{body}", BASE64URL_NOPAD.encode(header.as_bytes()));
        let signature = key(KeyKind::Account, 4).sign(signed.as_bytes());
        let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
        assert_eq!(decode(&token).is_ok(), good, "{header}");
    }
}

#[test]
fn claims_of_version_1() {
    let account = key(KeyKind::Account, 3);
    let header = BASE64URL_NOPAD.encode(br#"{"typ":"jwt","alg":"ed25519"}"#);
    let old = |claims: Value| {
        let body = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
        let signature = BASE64URL_NOPAD.encode(&account.sign(body.as_bytes()));
        format!("{header}.{body}.{signature}")
    };
    let user = old(json!({
        "iss": ACCOUNT, "sub": USER, "type": "user", "tags": ["x"], "issuer_account": OTHER_ACCOUNT,
        "nats": {"pub": {"allow": ["a"]}, "src": "10.0.0.0/8, ::1/128", "payload": 7},
    }));
    let claims = UserClaims::decode(&user).expect("a user");
    assert_eq!(claims.check(NOW), Ok(()));
    assert_eq!(claims.common.tags, ["x"]);
    assert_eq!(claims.account(), OTHER_ACCOUNT);
    assert_eq!(claims.limits.subscriptions, None);
    assert_eq!(claims.limits.payload_bytes, Some(7));
    assert_eq!(
        claims.limits.restrictions.sources,
        ["10.0.0.0/8", "::1/128"]
    );
    let activation = old(json!({
        "iss": ACCOUNT, "sub": OTHER_ACCOUNT, "type": "activation",
        "nats": {"subject": "a", "type": "service"},
    }));
    let claims = ActivationClaims::decode(&activation).expect("an activation");
    assert_eq!(claims.kind, ExportType::Service);
    assert_eq!(claims.exporter(), ACCOUNT);
}

#[test]
fn accounts_that_are_not_sound() {
    let operator = key(KeyKind::Operator, 1);
    let cases = [
        (json!({}), true),
        (
            json!({"limits": {"imports": 1}, "imports": [import(&json!({})), import(&json!({"subject": "b"}))]}),
            false,
        ),
        (
            json!({"limits": {"exports": -1}, "exports": [{"subject": "a.*", "type": "stream"}]}),
            true,
        ),
        (
            json!({"limits": {"exports": 1}, "exports": [{"subject": "a.*", "type": "stream"}]}),
            false,
        ),
        (
            json!({"exports": [{"subject": "a", "type": "stream"}]}),
            false,
        ),
        (
            exports(
                &json!([{"subject": "a", "type": "stream"}, {"subject": "*", "type": "stream"}]),
            ),
            false,
        ),
        (
            exports(
                &json!([{"subject": "a", "type": "stream"}, {"subject": "*", "type": "service"}]),
            ),
            true,
        ),
        (
            exports(&json!([{"subject": "a b", "type": "stream"}])),
            false,
        ),
        (exports(&json!([{"subject": "", "type": "stream"}])), false),
        (
            exports(&json!([{"subject": "a", "type": "stream", "response_type": "Stream"}])),
            false,
        ),
        (
            exports(&json!([{"subject": "a", "type": "service", "response_threshold": -1}])),
            false,
        ),
        (
            exports(&json!([{"subject": "a.b", "type": "stream", "account_token_position": 2}])),
            false,
        ),
        (
            exports(&json!([{"subject": "a.*", "type": "stream", "account_token_position": 2}])),
            true,
        ),
        (
            exports(&json!([{"subject": "a.*", "type": "stream", "account_token_position": 3}])),
            false,
        ),
        (
            imports(&json!([import(&json!({"local_subject": "b.$1"}))])),
            false,
        ),
        (
            imports(&json!([import(
                &json!({"subject": "a.*", "local_subject": "b.$1"})
            )])),
            true,
        ),
        (
            imports(&json!([import(
                &json!({"subject": "a.*", "local_subject": "b.$2"})
            )])),
            false,
        ),
        (
            imports(&json!([import(
                &json!({"subject": "a.*", "local_subject": "b"})
            )])),
            false,
        ),
        (
            imports(&json!([import(
                &json!({"subject": "a.>", "local_subject": "b"})
            )])),
            false,
        ),
        (imports(&json!([import(&json!({"account": ""}))])), false),
        (imports(&json!([import(&json!({"share": true}))])), false),
        (
            json!({"mappings": {"a": [{"subject": "b", "weight": 60}, {"subject": "c", "weight": 41}]}}),
            false,
        ),
        (
            json!({"mappings": {"a": [{"subject": "b", "weight": 60}, {"subject": "c", "weight": 41, "cluster": "x"}]}}),
            true,
        ),
        (json!({"signing_keys": [USER]}), false),
        (
            json!({"signing_keys": [{"kind": "user_scope", "key": ACCOUNT[..55]}]}),
            false,
        ),
        (json!({"authorization": {"allowed_accounts": ["*"]}}), false),
        (json!({"authorization": {"auth_users": [ACCOUNT]}}), false),
        (
            json!({"authorization": {"auth_users": [USER], "allowed_accounts": ["*", ACCOUNT]}}),
            false,
        ),
        (
            json!({"authorization": {"auth_users": [USER], "xkey": USER}}),
            false,
        ),
        (
            json!({"default_permissions": {"pub": {"allow": ["a q"]}}}),
            false,
        ),
        (
            json!({"default_permissions": {"sub": {"allow": ["a q"]}}}),
            true,
        ),
        (
            json!({"default_permissions": {"sub": {"allow": ["a q r"]}}}),
            false,
        ),
        (
            json!({"default_permissions": {"sub": {"deny": [" "]}}}),
            false,
        ),
        (json!({"trace": {"dest": "a.*"}}), false),
    ];
    for (mut nats, sound) in cases {
        nats["type"] = "account".into();
        nats["version"] = 2.into();
        let token = signed(json!({"sub": ACCOUNT, "nats": nats.clone()}), &operator);
        let claims = AccountClaims::decode(&token).expect("claims");
        assert_eq!(claims.check().is_ok(), sound, "{nats} {:?}", claims.check());
    }
    for wrong in [
        json!({"exports": [null]}),
        json!({"imports": [null]}),
        json!({"exports": [{"subject": "a", "type": "other"}]}),
        json!({"trace": {"dest": "a", "sampling": 101}}),
        json!({"mappings": {"a": [{"subject": "b", "weight": -1}]}}),
        json!({"cluster_traffic": "mine"}),
        json!({"signing_keys": [{"kind": "other"}]}),
        json!({"signing_keys": [7]}),
        imports(&json!([import(&json!({"token": "eyJ.x.y"}))])),
    ] {
        let mut nats = wrong;
        nats["type"] = "account".into();
        nats["version"] = 2.into();
        let token = signed(json!({"sub": ACCOUNT, "nats": nats.clone()}), &operator);
        assert!(AccountClaims::decode(&token).is_err(), "{nats}");
    }
}

fn exports(list: &Value) -> Value {
    json!({"limits": {"exports": -1, "imports": -1}, "exports": list})
}

fn imports(list: &Value) -> Value {
    json!({"limits": {"exports": -1, "imports": -1}, "imports": list})
}

fn import(more: &Value) -> Value {
    let mut import = json!({"subject": "a", "account": OTHER_ACCOUNT, "type": "stream"});
    for (name, value) in more.as_object().expect("an object") {
        import[name] = value.clone();
    }
    import
}

/// An import with a token that says `activation`, and whether the exporter approves it.
#[test]
fn activation_tokens_are_bound_to_one_import() {
    let other = key(KeyKind::Account, 6);
    let signing = key(KeyKind::Account, 12);
    let stranger = key(KeyKind::Account, 20);
    let exporter_token = signed(
        json!({"sub": OTHER_ACCOUNT, "nats": {"type": "account", "version": 2,
        "signing_keys": [OTHER_SIGNING], "limits": {"exports": -1, "wildcards": true},
        "exports": [
            {"subject": "open.>", "type": "stream"},
            {"subject": "private.>", "type": "stream", "token_req": true, "revocations": {"*": 50}},
            {"subject": "for.*.x", "type": "stream", "account_token_position": 2},
        ]}}),
        &key(KeyKind::Operator, 1),
    );
    let exporter = AccountClaims::decode(&exporter_token).expect("claims");
    assert_eq!(exporter.check(), Ok(()));
    let good = json!({"sub": ACCOUNT, "nats": {"type": "activation", "version": 2,
        "subject": "private.>", "kind": "stream"}});
    let with = |pointer: &str, value: Value| {
        let mut claims = good.clone();
        match pointer.strip_prefix("nats.") {
            Some(name) => claims["nats"][name] = value,
            None => claims[pointer] = value,
        }
        claims
    };
    let by_signing = with("nats.issuer_account", OTHER_ACCOUNT.into());
    let cases: Vec<(&str, Option<String>, &str, bool)> = vec![
        ("public", None, "open.x", true),
        ("no such export", None, "closed", false),
        (
            "the right token",
            Some(signed(good.clone(), &other)),
            "private.a",
            true,
        ),
        ("no token", None, "private.a", false),
        (
            "by its signing key",
            Some(signed(by_signing.clone(), &signing)),
            "private.a",
            true,
        ),
        (
            "by a signing key that says no account",
            Some(signed(good.clone(), &signing)),
            "private.a",
            false,
        ),
        (
            "by a stranger",
            Some(signed(good.clone(), &stranger)),
            "private.a",
            false,
        ),
        (
            "by a stranger in its name",
            Some(signed(by_signing, &stranger)),
            "private.a",
            false,
        ),
        (
            "for another account",
            Some(signed(with("sub", USER.into()), &other)),
            "private.a",
            false,
        ),
        (
            "for another subject",
            Some(signed(with("nats.subject", "private.b".into()), &other)),
            "private.a",
            false,
        ),
        (
            "wider than the token",
            Some(signed(with("nats.subject", "private.a".into()), &other)),
            "private.>",
            false,
        ),
        (
            "for a service",
            Some(signed(with("nats.kind", "service".into()), &other)),
            "private.a",
            false,
        ),
        (
            "expired",
            Some(signed(with("exp", (NOW - 1).into()), &other)),
            "private.a",
            false,
        ),
        (
            "expires now",
            Some(signed(with("exp", NOW.into()), &other)),
            "private.a",
            false,
        ),
        (
            "not yet",
            Some(signed(with("nbf", (NOW + 1).into()), &other)),
            "private.a",
            false,
        ),
        ("revoked", Some(revoked(&good, &other)), "private.a", false),
        ("position", None, &format!("for.{ACCOUNT}.x"), true),
        (
            "position of another",
            None,
            &format!("for.{OTHER_ACCOUNT}.x"),
            false,
        ),
    ]
    .into_iter()
    .map(|(name, token, subject, good)| (name, token, &*subject.to_owned().leak(), good))
    .collect();
    for (name, token, subject, expected) in cases {
        let value = import(&json!({"subject": subject, "token": token}));
        let import = ImportClaims::read(&value).expect(name);
        let answer = exporter.approves(ACCOUNT, &import, false, NOW);
        assert_eq!(answer.is_ok(), expected, "{name}: {answer:?}");
    }
    let value = import(
        &json!({"subject": "private.a", "token": signed(with("exp", (NOW + 9).into()), &other)}),
    );
    let import = ImportClaims::read(&value).expect("an import");
    assert_eq!(
        exporter.approves(ACCOUNT, &import, false, NOW),
        Ok(Some(NOW + 9))
    );
    // What Go's library made, in the importing account's claims.
    let value = &account().imports[0];
    assert_eq!(exporter.approves(ACCOUNT, value, true, NOW), Ok(None));
    assert!(exporter.approves(OTHER_ACCOUNT, value, true, NOW).is_err());
}

/// Issued before the time up to which all tokens of the export are void.
fn revoked(claims: &Value, key: &SigningKey) -> String {
    let Value::Object(claims) = claims.clone() else {
        panic!("claims are an object");
    };
    encode(claims, 50, key)
}

#[test]
fn our_tokens_are_named_and_decode() {
    let one = signed(
        json!({"sub": USER, "nats": {"type": "other"}}),
        &key(KeyKind::Account, 3),
    );
    let two = signed(
        json!({"sub": ACCOUNT, "nats": {"type": "other"}}),
        &key(KeyKind::Account, 3),
    );
    let (Ok(Claims::Generic(one)), Ok(Claims::Generic(two))) = (decode(&one), decode(&two)) else {
        panic!("they are generic");
    };
    assert_eq!(one.common.id.len(), 52);
    assert_ne!(one.common.id, two.common.id);
    assert_eq!(one.content["type"], "other");
}

/// Random bytes, changed tokens, and changed claims with a right signature.
#[test]
fn nothing_panics() {
    let mut random = Prng::new(11);
    let mut below = |n: usize| (random.next_u64() % n as u64) as usize;
    let tokens = [
        OPERATOR_TOKEN,
        ACCOUNT_TOKEN,
        USER_TOKEN,
        SCOPED_TOKEN,
        RESPONSE_TOKEN,
    ];
    for token in tokens {
        for _ in 0..300 {
            let mut changed = token.as_bytes().to_vec();
            for _ in 0..=below(3) {
                let at = below(changed.len());
                match below(3) {
                    0 => changed[at] = below(128) as u8,
                    1 => drop(changed.drain(at..)),
                    _ => changed.insert(at, b".eyJ"[below(4)]),
                }
                if changed.is_empty() {
                    break;
                }
            }
            let changed = String::from_utf8(changed).expect("it is ASCII");
            if changed != token {
                assert!(decode(&changed).is_err(), "{changed}");
            }
        }
    }
    let values = [
        Value::Null,
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!(" "),
        json!(">"),
        json!("*.*"),
        json!([]),
        json!([null]),
        json!({}),
        json!({"": {}}),
        json!(true),
        json!("{{tag()}}"),
        json!(vectors::USER),
        json!([[["a"]]]),
    ];
    let (account_key, operator_key) = (key(KeyKind::Account, 4), key(KeyKind::Operator, 2));
    for (token, key) in [
        (ACCOUNT_TOKEN, &operator_key),
        (USER_TOKEN, &account_key),
        (ACTIVATION_TOKEN, &account_key),
    ] {
        let body = token.split('.').nth(1).expect("a body");
        let body: Value = parse(body).expect("JSON");
        for _ in 0..1500 {
            let mut changed = body.clone();
            change(&mut changed, &values, &mut below);
            if !changed.is_object() {
                continue;
            }
            // A claims' tags, limits and lists of other types are errors; others are judged.
            match decode(&signed(changed, key)) {
                Ok(Claims::Account(claims)) => {
                    let _ = claims.check();
                    let claims: Arc<AccountClaims> = claims.into();
                    let _ = claims
                        .definition(|import| claims.approves(ACCOUNT, import, true, NOW).is_ok());
                }
                Ok(Claims::User(claims)) => {
                    let _ = claims.check(NOW);
                    let _ = claims.limits.permissions.rules();
                    let _ = claims.limits.restrictions.allow_time(NOW);
                }
                _ => {}
            }
        }
    }
}

/// Replaces one value somewhere in the tree.
fn change(value: &mut Value, values: &[Value], below: &mut impl FnMut(usize) -> usize) {
    let into: Option<&mut Value> = match value {
        Value::Object(map) if !map.is_empty() => {
            let at = below(map.len());
            map.values_mut().nth(at)
        }
        Value::Array(list) if !list.is_empty() => {
            let at = below(list.len());
            list.get_mut(at)
        }
        _ => None,
    };
    match into {
        Some(child) if below(6) != 0 => change(child, values, below),
        _ => *value = values[below(values.len())].clone(),
    }
}
