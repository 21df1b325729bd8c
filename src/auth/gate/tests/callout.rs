//! Questions to an authorization service, and its answers.

use serde_json::{Value, json};

use super::claims::{account_token, by_claims, operated, resolved, token, user_claims};
use super::*;
use crate::auth::callout::{Question, Random, ServerFacts, ServerKeys, question};
use crate::auth::claims::{Claims, decode};
use crate::auth::definition::CalloutDefinition;
use crate::auth::vectors::{OTHER_ACCOUNT, REQUEST_TOKEN};
use crate::auth::xkey::CurveKey;

const RANDOM: Random = Random {
    user_seed: [70; 32],
    nonce: [71; 24],
};

fn keys() -> ServerKeys {
    ServerKeys::from_seeds(&[8; 32], [9; 32])
}

fn server() -> ServerFacts<'static> {
    ServerFacts {
        name: "srv",
        host: "0.0.0.0",
        version: "2.15.0",
        ..ServerFacts::default()
    }
}

fn service(xkey: bool, allowed: &[&str]) -> AuthDefinition {
    let mut definition = with_users(vec![
        in_account(user("auth", Some("p")), "AUTH"),
        in_account(user("a", Some("p")), "A"),
        user("g", Some("p")),
    ]);
    definition.callout = Some(CalloutDefinition {
        issuer: ACCOUNT.into(),
        account: "AUTH".into(),
        users: vec!["auth".into()],
        xkey: xkey.then(|| CurveKey::from_seed([10; 32]).public().to_string()),
        allowed_accounts: allowed.iter().map(|&s| s.to_owned()).collect(),
    });
    definition
}

fn need(gate: &Gate, accounts: &dyn Accounts, presented: &Presented) -> Box<CalloutNeed> {
    match gate.decide(accounts, presented, NOW) {
        Outcome::NeedsCallout(need) => need,
        other => panic!("{other:?}"),
    }
}

fn ask(need: &CalloutNeed, presented: &Presented) -> Question {
    question(need, presented, &server(), &keys(), &RANDOM, (NOW, NOW + 2))
}

fn body(token: &str) -> Value {
    let body = token.split('.').nth(1).expect("a body");
    let body = BASE64URL_NOPAD.decode(body.as_bytes()).expect("base64");
    serde_json::from_slice(&body).expect("JSON")
}

#[test]
fn who_is_asked_about() {
    let cases: Vec<(&[&str], Presented, &str)> = vec![
        (&[], by_password("auth", "p"), "AUTH user:auth"),
        (&[], by_password("auth", "q"), NO),
        (&[], by_password("stranger", "x"), "asks in AUTH"),
        (&[], by_token("x"), "asks in AUTH"),
        (&[], nobody(), "asks in AUTH"),
        (&[], by_password("g", "p"), "asks in AUTH"),
        (&[], by_password("g", "q"), "asks in AUTH"),
        (&[], by_password("a", "p"), "asks in AUTH"),
        (&["A"], by_password("a", "p"), "asks in AUTH"),
        (&["B"], by_password("a", "p"), "A user:a"),
        (&["B"], by_password("a", "q"), "asks in AUTH"),
        (&["B"], by_password("stranger", "x"), "asks in AUTH"),
    ];
    for (allowed, presented, expected) in cases {
        let gate = gate(&service(false, allowed));
        assert!(gate.is_required());
        assert_eq!(
            answer(&gate, &configured(), &presented),
            expected,
            "{presented:?}"
        );
    }
    // Its own users cannot forge questions.
    let gate = gate(&service(false, &[]));
    let Outcome::Admitted(admission) = gate.decide(&configured(), &by_password("auth", "p"), NOW)
    else {
        panic!("it is the service");
    };
    let permissions = admission.permissions.expect("a deny");
    assert!(!permissions.may_publish(CALLOUT_SUBJECT.as_bytes()));
    assert!(permissions.may_publish(b"other"));
    assert_eq!(answer(&gate, &accounts(&["$G"]), &nobody()), NO);
}

/// The same fields as Go's library writes, for the same connection.
#[test]
fn questions_are_as_the_go_library_writes_them() {
    let gate = gate(&service(false, &[]));
    let presented = Presented {
        nonce: "abc".into(),
        sig: Some("sig".into()),
        ..by_password("bob", "pw")
    };
    let mut need = need(&gate, &configured(), &presented);
    let asked = ask(&need, &presented);
    assert_eq!(asked.xkey, None);
    let token = String::from_utf8(asked.payload).expect("text");
    assert!(matches!(
        decode(&token),
        Ok(Claims::AuthorizationRequest(_))
    ));
    let (mut ours, mut theirs) = (body(&token), body(REQUEST_TOKEN));
    assert_eq!(ours["nats"]["user_nkey"], asked.user.to_string());
    assert_eq!(ours["exp"], NOW + 2);
    for body in [&mut ours, &mut theirs] {
        for name in ["jti", "iat", "exp"] {
            body.as_object_mut().expect("an object").remove(name);
        }
        body["nats"]["user_nkey"] = Value::Null;
    }
    theirs["nats"]["server_id"]
        .as_object_mut()
        .expect("an object")
        .remove("xkey");
    assert_eq!(ours, theirs);

    // Certificates, and what a token said.
    let presented = by_certificate(examples::NAMES);
    need.claims = Some(Arc::new(crate::auth::admission::ClaimsFacts {
        jwt: "j".into(),
        name_tag: "n".into(),
        tags: vec!["t".into()],
        ..Default::default()
    }));
    let asked = ask(&need, &presented);
    let body = body(&String::from_utf8(asked.payload).expect("text"));
    let pem = body["nats"]["client_tls"]["certs"][0]
        .as_str()
        .expect("a text");
    assert!(
        pem.starts_with("-----BEGIN CERTIFICATE-----\nMII")
            && pem.ends_with("\n-----END CERTIFICATE-----\n")
    );
    assert!(pem.lines().all(|line| line.len() <= 64));
    assert_eq!(body["nats"]["client_tls"]["version"], "1.3");
    assert_eq!(body["nats"]["connect_opts"]["jwt"], "j");
    assert_eq!(body["nats"]["client_info"]["tags"], json!(["t"]));
    assert_eq!(body["nats"]["client_info"]["name_tag"], "n");
}

/// An answer for the user of [`RANDOM`]; `outer` changes the answer, `inner` the user in it.
fn answered(outer: &Value, inner: &Value, (outer_key, inner_key): (u8, u8)) -> Vec<u8> {
    let user = key(KeyKind::User, 70).public().to_string();
    let mut claims = user_claims(json!({}));
    claims["sub"] = user.as_str().into();
    claims["aud"] = "A".into();
    for (name, value) in inner.as_object().expect("an object") {
        match name.as_str() {
            "nats" => claims["nats"]
                .as_object_mut()
                .expect("an object")
                .extend(value.as_object().expect("an object").clone()),
            _ => claims[name] = value.clone(),
        }
    }
    let jwt = token(claims, NOW, KeyKind::Account, inner_key);
    let mut nats = json!({"type": "authorization_response", "version": 2, "jwt": jwt});
    for (name, value) in outer["nats"].as_object().into_iter().flatten() {
        nats[name] = value.clone();
    }
    let mut response = json!({"sub": user, "aud": keys().identity.public().to_string()});
    for (name, value) in outer.as_object().expect("an object") {
        response[name] = value.clone();
    }
    response["nats"] = nats;
    token(response, NOW, KeyKind::Account, outer_key).into_bytes()
}

fn judged(gate: &Gate, names: &dyn Accounts, presented: &Presented, answer: &[u8]) -> String {
    let need = need(gate, names, presented);
    let asked = ask(&need, presented);
    match gate.judge(names, &need, presented, &asked, &keys(), answer, NOW) {
        Outcome::Admitted(a) => {
            assert_eq!(gate.still_admits(names, &a, NOW).map(drop), Ok(()));
            assert_eq!(a.claims.as_ref().map(|claims| &*claims.jwt), Some(""));
            format!("{} {}", a.account_name, a.label.unwrap_or_default())
        }
        Outcome::Refused(refused, _) => format!("{refused:?}"),
        Outcome::NeedsAccount(key) => format!("needs {key}"),
        Outcome::NeedsCallout(_) => "asks again".to_owned(),
    }
}

#[test]
fn answers_without_operators() {
    let gate = gate(&service(false, &[]));
    let none = json!({});
    let other_user = key(KeyKind::User, 7).public().to_string();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("good", answered(&none, &none, (3, 3)), "A user:bob"),
        ("nothing", Vec::new(), NO),
        ("noise", b"\xff\xfe".to_vec(), NO),
        ("text", b"eyJ.x.y".to_vec(), NO),
        (
            "an error",
            answered(&json!({"nats": {"error": "no", "jwt": ""}}), &none, (3, 3)),
            NO,
        ),
        (
            "both",
            answered(&json!({"nats": {"error": "no"}}), &none, (3, 3)),
            NO,
        ),
        (
            "of another question",
            answered(&json!({"sub": other_user}), &none, (3, 3)),
            NO,
        ),
        (
            "for another server",
            answered(
                &json!({"aud": key(KeyKind::Server, 1).public().to_string()}),
                &none,
                (3, 3),
            ),
            NO,
        ),
        (
            "expired",
            answered(&json!({"exp": NOW - 1}), &none, (3, 3)),
            NO,
        ),
        (
            "another user",
            answered(&none, &json!({"sub": other_user}), (3, 3)),
            NO,
        ),
        (
            "user expired",
            answered(&none, &json!({"exp": NOW - 1}), (3, 3)),
            NO,
        ),
        ("another issuer", answered(&none, &none, (3, 6)), NO),
        (
            "issuer account",
            answered(&none, &json!({"nats": {"issuer_account": ACCOUNT}}), (3, 6)),
            NO,
        ),
        (
            "unknown account",
            answered(&none, &json!({"aud": "nowhere"}), (3, 3)),
            NO,
        ),
        (
            "no account",
            answered(&none, &json!({"aud": ""}), (3, 3)),
            NO,
        ),
        (
            "no name",
            answered(&none, &json!({"name": "", "aud": "B"}), (3, 3)),
            "B user:stranger",
        ),
        (
            "type",
            answered(
                &none,
                &json!({"nats": {"allowed_connection_types": ["MQTT"]}}),
                (3, 3),
            ),
            NO,
        ),
        (
            "unknown type",
            answered(
                &none,
                &json!({"nats": {"allowed_connection_types": ["x"]}}),
                (3, 3),
            ),
            NO,
        ),
        (
            "proxy",
            answered(&none, &json!({"nats": {"proxy_required": true}}), (3, 3)),
            "ProxyRequired",
        ),
        (
            "source",
            answered(&none, &json!({"nats": {"src": ["10.0.0.0/8"]}}), (3, 3)),
            NO,
        ),
        (
            "permission",
            answered(&none, &json!({"nats": {"pub": {"allow": ["a b"]}}}), (3, 3)),
            NO,
        ),
    ];
    for (name, answer, expected) in cases {
        let presented = by_password("stranger", "x");
        assert_eq!(
            judged(&gate, &configured(), &presented, &answer),
            expected,
            "{name}"
        );
    }
    // In the service's account nobody else may forge questions either.
    let presented = by_password("stranger", "x");
    let need = need(&gate, &configured(), &presented);
    let answer = answered(
        &none,
        &json!({"aud": "AUTH", "nats": {"subs": 0, "payload": 5}}),
        (3, 3),
    );
    let asked = ask(&need, &presented);
    let outcome = gate.judge(
        &configured(),
        &need,
        &presented,
        &asked,
        &keys(),
        &answer,
        NOW,
    );
    let Outcome::Admitted(admission) = outcome else {
        panic!("{outcome:?}");
    };
    let permissions = admission.permissions.expect("a deny");
    assert!(!permissions.may_publish(CALLOUT_SUBJECT.as_bytes()));
    assert_eq!(
        (admission.max_subscriptions, admission.max_payload_bytes),
        (None, Some(5))
    );
}

#[test]
fn sealed_questions_and_answers() {
    let gate = gate(&service(true, &[]));
    let presented = by_password("stranger", "x");
    let need = need(&gate, &configured(), &presented);
    let asked = ask(&need, &presented);
    let (service, ours) = (CurveKey::from_seed([10; 32]), keys().curve.public());
    assert_eq!(asked.xkey, Some(ours.to_string()));
    assert!(asked.payload.starts_with(b"xkv1"));
    let opened = service
        .open(&asked.payload, &ours)
        .expect("it is for the service");
    let body = body(std::str::from_utf8(&opened).expect("text"));
    assert_eq!(body["nats"]["server_id"]["xkey"], ours.to_string());
    assert_eq!(body["nats"]["connect_opts"]["pass"], "x");

    let plain = answered(&json!({}), &json!({}), (3, 3));
    let sealed = service.seal(&plain, &ours, [1; 24]).expect("a curve key");
    let foreign = CurveKey::from_seed([11; 32])
        .seal(&plain, &ours, [1; 24])
        .expect("a curve key");
    for (answer, expected) in [
        (&plain, "A user:bob"),
        (&sealed, "A user:bob"),
        (&foreign, NO),
    ] {
        assert_eq!(judged(&gate, &configured(), &presented, answer), expected);
    }
}

#[test]
fn answers_with_operators() {
    let gate = gate(&operated());
    let asking = account_token(
        ACCOUNT,
        json!({"authorization": {"auth_users": [key(KeyKind::User, 1).public().to_string()],
            "allowed_accounts": [OTHER_ACCOUNT]}}),
    );
    let mine_only = account_token(
        ACCOUNT,
        json!({"authorization": {"auth_users": [key(KeyKind::User, 1).public().to_string()]}}),
    );
    let target = account_token(OTHER_ACCOUNT, json!({}));
    let sentinel = by_claims(&token(user_claims(json!({})), NOW, KeyKind::Account, 3));
    let both = resolved(&gate, &[(ACCOUNT, &asking), (OTHER_ACCOUNT, &target)]);
    let one = resolved(&gate, &[(ACCOUNT, &asking)]);
    let closed = resolved(&gate, &[(ACCOUNT, &mine_only), (OTHER_ACCOUNT, &target)]);
    let none = json!({});
    let revoked = account_token(OTHER_ACCOUNT, json!({"revocations": {"*": NOW}}));
    let revoked = resolved(&gate, &[(ACCOUNT, &asking), (OTHER_ACCOUNT, &revoked)]);
    assert_eq!(
        answer(&gate, &both, &sentinel),
        format!("asks in {ACCOUNT}")
    );
    let cases = [
        (
            "its own",
            &both,
            answered(&none, &none, (3, 3)),
            format!("{ACCOUNT} user:bob"),
        ),
        (
            "an allowed one",
            &both,
            answered(&none, &none, (3, 6)),
            format!("{OTHER_ACCOUNT} user:bob"),
        ),
        (
            "to be fetched",
            &one,
            answered(&none, &none, (3, 6)),
            format!("needs {OTHER_ACCOUNT}"),
        ),
        (
            "not allowed",
            &closed,
            answered(&none, &none, (3, 6)),
            NO.to_owned(),
        ),
        (
            "revoked",
            &revoked,
            answered(&none, &none, (3, 6)),
            "Revoked".to_owned(),
        ),
        (
            "answered by a stranger",
            &both,
            answered(&none, &none, (20, 3)),
            NO.to_owned(),
        ),
        (
            "by a stranger in its name",
            &both,
            answered(
                &json!({"nats": {"issuer_account": ACCOUNT}}),
                &none,
                (20, 3),
            ),
            NO.to_owned(),
        ),
        (
            "a user of a stranger",
            &both,
            answered(
                &none,
                &json!({"nats": {"issuer_account": ACCOUNT}}),
                (3, 20),
            ),
            NO.to_owned(),
        ),
    ];
    for (name, names, answer, expected) in cases {
        assert_eq!(judged(&gate, names, &sentinel, &answer), expected, "{name}");
    }
}
