//! Servers with operators: what claims and signatures let in.

use serde_json::{Value, json};

use super::*;
use crate::auth::claims::encode;
use crate::auth::vectors::{
    ACCOUNT_SIGNING, ACCOUNT_TOKEN, OPERATOR, OPERATOR_TOKEN, OTHER_ACCOUNT, SCOPED, SCOPED_TOKEN,
    USER_TOKEN,
};

/// When tokens of these tests are issued, unless they say otherwise.
const ISSUED: u64 = 1_800_000_000;

pub fn token(claims: Value, issued_at: u64, kind: KeyKind, byte: u8) -> String {
    let Value::Object(claims) = claims else {
        panic!("claims are an object");
    };
    encode(claims, issued_at, &key(kind, byte))
}

/// An account's token by the operator, with this in it besides what is needed.
pub fn account_token(subject: &str, more: Value) -> String {
    let mut nats = json!({"type": "account", "version": 2,
        "limits": {"subs": -1, "payload": -1, "conn": -1, "exports": -1, "imports": -1}});
    merge(&mut nats, more);
    token(
        json!({"sub": subject, "nats": nats}),
        ISSUED,
        KeyKind::Operator,
        1,
    )
}

/// A user's token by the account's own key.
pub fn user_claims(more: Value) -> Value {
    let mut claims = json!({"sub": USER, "name": "bob",
        "nats": {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}});
    merge(&mut claims, more);
    claims
}

fn user_token(more: Value) -> String {
    token(user_claims(more), ISSUED, KeyKind::Account, 3)
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

pub fn operated() -> AuthDefinition {
    AuthDefinition {
        trusted_keys: vec![OPERATOR.into()],
        ..AuthDefinition::default()
    }
}

/// Accounts as the directory would have them, from tokens.
pub fn resolved(gate: &Gate, tokens: &[(&str, &str)]) -> Names {
    let mut names = accounts(&["$G", "$SYS"]);
    for (at, (key, token)) in tokens.iter().enumerate() {
        let claims = gate
            .trust()
            .account(key, token, ISSUED)
            .expect("a sound account");
        let view = AccountView {
            id: AccountId(at as u32 + 2),
            name: (*key).into(),
            claims: Some(Arc::new(claims)),
        };
        names.insert((*key).to_owned(), view);
    }
    names
}

pub fn by_claims(token: &str) -> Presented {
    let signature = key(KeyKind::User, 7).sign(NONCE.as_bytes());
    Presented {
        jwt: Some(token.into()),
        sig: Some(BASE64URL_NOPAD.encode(&signature).into()),
        ..nobody()
    }
}

fn unsigned(token: &str) -> Presented {
    Presented {
        sig: None,
        ..by_claims(token)
    }
}

#[test]
fn users_of_accounts() {
    let gate = gate(&operated());
    assert!(gate.is_required() && gate.needs_nonce() && !gate.is_cheap(&nobody()));
    let account = |more| account_token(ACCOUNT, more);
    let plain = account(json!({}));
    let signing = account(json!({"signing_keys": [ACCOUNT_SIGNING]}));
    let by_signing = |more: Value| {
        let claims = user_claims(json!({"nats": {"issuer_account": ACCOUNT}}));
        let mut all = claims;
        merge(&mut all, more);
        token(all, ISSUED, KeyKind::Account, 4)
    };
    let bearer = user_token(json!({"nats": {"bearer_token": true}}));
    let types = |list: Value| {
        by_claims(&user_token(
            json!({"nats": {"allowed_connection_types": list}}),
        ))
    };
    let yes = format!("{ACCOUNT} jwt:{USER}");
    let needs = format!("needs {ACCOUNT}");
    let good = user_token(json!({}));
    let mut other_nonce = by_claims(&good);
    other_nonce.nonce = "another".into();
    let mut standard = by_claims(&good);
    standard.sig = Some(
        BASE64
            .encode(&key(KeyKind::User, 7).sign(NONCE.as_bytes()))
            .into(),
    );
    let mut no_nonce = by_claims(&good);
    no_nonce.nonce = "".into();
    no_nonce.sig = Some(BASE64.encode(&key(KeyKind::User, 7).sign(b"")).into());
    let mut from_afar = by_claims(&user_token(json!({"nats": {"src": ["10.0.0.0/8"]}})));
    let near = Presented {
        peer: [10, 1, 1, 1].into(),
        ..from_afar.clone()
    };
    from_afar.peer = [11, 0, 0, 1].into();
    let mut mqtt = nobody();
    mqtt.connection_type = ConnectionType::Mqtt;
    mqtt.pass = secret(&bearer);
    let not_mqtt = Presented {
        connection_type: ConnectionType::Standard,
        ..mqtt.clone()
    };
    let all_day =
        json!({"times": [{"start": "00:00:00", "end": "23:59:59"}], "times_location": "UTC"});
    let never =
        json!({"times": [{"start": "03:00:00", "end": "03:00:01"}], "times_location": "UTC"});

    let cases: Vec<(&str, String, Presented, String)> = vec![
        ("good", plain.clone(), by_claims(&good), yes.clone()),
        ("nothing", plain.clone(), nobody(), NO.into()),
        ("unknown account", String::new(), by_claims(&good), needs),
        (
            "user and password",
            plain.clone(),
            by_password("a", "b"),
            NO.into(),
        ),
        ("no signature", plain.clone(), unsigned(&good), NO.into()),
        (
            "signature of another nonce",
            plain.clone(),
            other_nonce,
            NO.into(),
        ),
        ("no nonce", plain.clone(), no_nonce, NO.into()),
        ("ordinary base 64", plain.clone(), standard, yes.clone()),
        ("bearer", plain.clone(), unsigned(&bearer), yes.clone()),
        (
            "bearer not allowed",
            account(json!({"limits": {"disallow_bearer": true}})),
            unsigned(&bearer),
            NO.into(),
        ),
        (
            "bearer not allowed, and signed",
            account(json!({"limits": {"disallow_bearer": true}})),
            by_claims(&bearer),
            NO.into(),
        ),
        (
            "expired",
            plain.clone(),
            by_claims(&user_token(json!({"exp": NOW - 1}))),
            "Expired".into(),
        ),
        (
            "not yet",
            plain.clone(),
            by_claims(&user_token(json!({"nbf": NOW + 1}))),
            NO.into(),
        ),
        (
            "expires later",
            plain.clone(),
            by_claims(&user_token(json!({"exp": NOW + 9}))),
            yes.clone(),
        ),
        (
            "signing key",
            signing.clone(),
            by_claims(&by_signing(json!({}))),
            yes.clone(),
        ),
        (
            "unknown signing key",
            plain.clone(),
            by_claims(&by_signing(json!({}))),
            NO.into(),
        ),
        (
            "signing key without its account",
            signing.clone(),
            by_claims(&token(user_claims(json!({})), ISSUED, KeyKind::Account, 4)),
            format!("needs {ACCOUNT_SIGNING}"),
        ),
        (
            "issuer account is none",
            signing.clone(),
            by_claims(&by_signing(json!({"nats": {"issuer_account": USER}}))),
            NO.into(),
        ),
        (
            "revoked",
            account(json!({"revocations": {USER: ISSUED}})),
            by_claims(&good),
            "Revoked".into(),
        ),
        (
            "revoked before",
            account(json!({"revocations": {USER: ISSUED - 1}})),
            by_claims(&good),
            yes.clone(),
        ),
        (
            "all revoked",
            account(json!({"revocations": {"*": ISSUED}})),
            by_claims(&good),
            "Revoked".into(),
        ),
        (
            "another revoked",
            account(json!({"revocations": {ACCOUNT: NOW}})),
            by_claims(&good),
            yes.clone(),
        ),
        (
            "type",
            plain.clone(),
            types(json!(["standard"])),
            yes.clone(),
        ),
        (
            "other type",
            plain.clone(),
            types(json!(["MQTT"])),
            NO.into(),
        ),
        (
            "unknown types",
            plain.clone(),
            types(json!(["CARRIER_PIGEON"])),
            NO.into(),
        ),
        (
            "unknown type and this",
            plain.clone(),
            types(json!(["CARRIER_PIGEON", "STANDARD"])),
            yes.clone(),
        ),
        ("from there", plain.clone(), near, yes.clone()),
        ("from elsewhere", plain.clone(), from_afar, NO.into()),
        (
            "by day",
            plain.clone(),
            by_claims(&user_token(json!({"nats": all_day}))),
            yes.clone(),
        ),
        (
            "not now",
            plain.clone(),
            by_claims(&user_token(json!({"nats": never}))),
            NO.into(),
        ),
        (
            "proxy",
            plain.clone(),
            by_claims(&user_token(json!({"nats": {"proxy_required": true}}))),
            "ProxyRequired".into(),
        ),
        (
            "subject is no user",
            plain.clone(),
            by_claims(&user_token(json!({"sub": ACCOUNT}))),
            NO.into(),
        ),
        (
            "another's token",
            plain.clone(),
            by_claims(&token(user_claims(json!({})), ISSUED, KeyKind::Account, 6)),
            format!("needs {OTHER_ACCOUNT}"),
        ),
        (
            "account's token",
            plain.clone(),
            by_claims(&plain),
            NO.into(),
        ),
        (
            "wrong permission",
            plain.clone(),
            by_claims(&user_token(json!({"nats": {"pub": {"allow": ["a..b"]}}}))),
            NO.into(),
        ),
        ("mqtt", plain.clone(), mqtt, yes.clone()),
        ("mqtt's way elsewhere", plain.clone(), not_mqtt, NO.into()),
    ];
    for (name, account, presented, expected) in cases {
        let names = match account.as_str() {
            "" => resolved(&gate, &[]),
            token => resolved(&gate, &[(ACCOUNT, token)]),
        };
        assert_eq!(answer(&gate, &names, &presented), expected, "{name}");
    }
    // Claims whose issuer is not trusted any more.
    let others = Gate::new(&AuthDefinition {
        trusted_keys: vec![crate::auth::vectors::OPERATOR_SIGNING.into()],
        ..AuthDefinition::default()
    });
    let names = resolved(&gate, &[(ACCOUNT, &plain)]);
    assert_eq!(
        answer(&others.expect("sound"), &names, &by_claims(&good)),
        NO
    );
}

#[test]
fn tokens_of_the_go_library() {
    let definition = AuthDefinition {
        operators: vec![OPERATOR_TOKEN.into()],
        ..AuthDefinition::default()
    };
    let gate = gate(&definition);
    let names = resolved(&gate, &[(ACCOUNT, ACCOUNT_TOKEN)]);
    // Both accounts have an authorization service, which is asked about all but its own user.
    assert_eq!(
        answer(&gate, &names, &by_claims(SCOPED_TOKEN)),
        format!("{ACCOUNT} jwt:{USER}")
    );
    let Outcome::Admitted(admission) = gate.decide(&names, &by_claims(SCOPED_TOKEN), NOW) else {
        panic!("it is the service's");
    };
    assert_eq!(admission.max_subscriptions, Some(7));
    assert_eq!(admission.max_payload_bytes, None);
    let permissions = admission.permissions.expect("of its role");
    let rules = permissions.rules();
    assert_eq!(
        rules.publish.allow.as_deref(),
        Some(
            &[
                "to.worker.>",
                "r.eu.blue",
                "r.eu.red",
                "r.us.blue",
                "r.us.red"
            ]
            .map(String::from)[..]
        )
    );
    assert_eq!(rules.publish.deny, [CALLOUT_SUBJECT]);
    assert_eq!(
        rules.subscribe.allow.as_deref(),
        Some(&["_INBOX.>".to_owned()][..])
    );
    assert_eq!(rules.subscribe.deny, [format!("no.A.{ACCOUNT}")]);
    // The account allows no bearers.
    assert_eq!(answer(&gate, &names, &by_claims(USER_TOKEN)), NO);
    // A strict operator's accounts sign with signing keys only.
    assert_eq!(
        answer(&gate, &names, &by_claims(&user_token(json!({})))),
        NO
    );
}

#[test]
fn scoped_users_say_nothing_themselves() {
    let gate = gate(&operated());
    let scope = json!({"kind": "user_scope", "key": SCOPED, "role": "r",
        "template": {"pub": {"allow": ["t.{{name()}}"]}, "subs": 3, "bearer_token": true}});
    let account = account_token(ACCOUNT, json!({"signing_keys": [scope]}));
    let names = resolved(&gate, &[(ACCOUNT, &account)]);
    let scoped = |more: Value| {
        let mut claims = json!({"sub": USER, "name": "bob",
            "nats": {"type": "user", "version": 2, "issuer_account": ACCOUNT}});
        merge(&mut claims, more);
        by_claims(&token(claims, ISSUED, KeyKind::Account, 5))
    };
    let Outcome::Admitted(admission) = gate.decide(&names, &scoped(json!({})), NOW) else {
        panic!("it is in its role");
    };
    assert_eq!(admission.max_subscriptions, Some(3));
    let rules = admission.permissions.clone().expect("of its role");
    assert_eq!(
        rules.rules().publish.allow.as_deref(),
        Some(&["t.bob".to_owned()][..])
    );
    for more in [
        json!({"nats": {"subs": -1}}),
        json!({"nats": {"pub": {"allow": [">"]}}}),
        json!({"nats": {"bearer_token": true}}),
        json!({"nats": {"allowed_connection_types": ["STANDARD"]}}),
        json!({"nats": {"src": ["0.0.0.0/0"]}}),
        json!({"nats": {"resp": {"max": 1, "ttl": 1}}}),
    ] {
        assert_eq!(answer(&gate, &names, &scoped(more.clone())), NO, "{more}");
    }
    // The role changes, or the key goes: whoever came in by it must go.
    let changed = |keys: Value| {
        let account = account_token(ACCOUNT, json!({"signing_keys": keys}));
        let names = resolved(&gate, &[(ACCOUNT, &account)]);
        gate.still_admits(&names, &admission, NOW).map(drop)
    };
    let other = json!({"kind": "user_scope", "key": SCOPED, "role": "r", "template": {"subs": 4}});
    for keys in [json!([]), json!([SCOPED]), json!([other])] {
        assert_eq!(changed(keys.clone()), Err(Refused::Credentials), "{keys}");
    }
}

#[test]
fn default_permissions_limits_and_ends() {
    let gate = gate(&operated());
    let with = |expires: u64| {
        let claims = json!({"sub": ACCOUNT, "exp": expires, "nats": {"type": "account", "version": 2,
            "limits": {"subs": 10, "payload": 100, "exports": -1, "imports": -1},
            "default_permissions": {"sub": {"deny": ["d"]}}}});
        resolved(
            &gate,
            &[(ACCOUNT, &token(claims, ISSUED, KeyKind::Operator, 1))],
        )
    };
    let names = with(NOW + 50);
    let admit =
        |names: &Names, more: Value| match gate.decide(names, &by_claims(&user_token(more)), NOW) {
            Outcome::Admitted(admission) => admission,
            other => panic!("{other:?}"),
        };
    let plain = admit(&names, json!({}));
    let denied = |a: &Admission| {
        a.permissions
            .as_ref()
            .map(|p| p.rules().subscribe.deny.clone())
    };
    assert_eq!(denied(&plain), Some(vec!["d".to_owned()]));
    assert_eq!(
        (plain.max_subscriptions, plain.max_payload_bytes),
        (None, None)
    );
    assert_eq!(plain.expires_unix_s, None);
    let own =
        json!({"exp": NOW + 20, "nats": {"subs": 3, "payload": 1000, "pub": {"deny": ["x"]}}});
    let own = admit(&names, own);
    assert_eq!(denied(&own), Some(Vec::new()));
    assert_eq!(
        (own.max_subscriptions, own.max_payload_bytes),
        (Some(3), Some(1000))
    );
    assert_eq!(own.expires_unix_s, Some(NOW + 20));
    let at_once = admit(
        &names,
        json!({"nats": {"times_location": "UTC",
        "times": [{"start": "00:00:00", "end": "17:46:50"}]}}),
    );
    assert_eq!(at_once.expires_unix_s, Some(NOW + 10));

    // The account's end, and changes while somebody is in.
    assert_eq!(
        answer(&gate, &with(NOW), &by_claims(&user_token(json!({})))),
        "Expired"
    );
    assert_eq!(
        gate.still_admits(&names, &plain, NOW + 50).map(drop),
        Err(Refused::Expired)
    );
    let now = |more: Value| {
        let names = resolved(&gate, &[(ACCOUNT, &account_token(ACCOUNT, more))]);
        gate.still_admits(&names, &plain, NOW).map(drop)
    };
    assert_eq!(now(json!({})), Ok(()));
    assert_eq!(
        now(json!({"revocations": {USER: ISSUED}})),
        Err(Refused::Revoked)
    );
    assert_eq!(now(json!({"revocations": {"*": ISSUED - 1}})), Ok(()));
    assert_eq!(
        gate.still_admits(&resolved(&gate, &[]), &plain, NOW)
            .map(drop),
        Err(Refused::Expired)
    );
}

#[test]
fn pinned_accounts_and_sentinels() {
    let bearer = user_token(json!({"nats": {"bearer_token": true}}));
    let mut definition = operated();
    definition.default_sentinel = secret(&bearer);
    let sentinel = gate(&definition);
    let names = resolved(&sentinel, &[(ACCOUNT, &account_token(ACCOUNT, json!({})))]);
    let yes = format!("{ACCOUNT} jwt:{USER}");
    for presented in [nobody(), by_password("a", "b"), by_claims("no token")] {
        assert_eq!(answer(&sentinel, &names, &presented), yes);
    }
    // A token of one's own is not replaced because it does not count.
    let expired = by_claims(&user_token(json!({"exp": 1})));
    assert_eq!(answer(&sentinel, &names, &expired), "Expired");
    definition.default_sentinel = secret(&user_token(json!({})));
    assert!(Gate::new(&definition).is_err());

    let mut definition = operated();
    definition.pinned_accounts = vec![OTHER_ACCOUNT.into()];
    let pinned = gate(&definition);
    assert_eq!(answer(&pinned, &names, &by_claims(&bearer)), NO);
    // The system account is always one of them.
    definition.system_account = Some(ACCOUNT.into());
    assert_eq!(answer(&gate(&definition), &names, &by_claims(&bearer)), yes);
}
