//! The document that `/openapi.json` gives, held against the routes that are there and against what they answer.

use std::collections::BTreeSet;

use axum::http::Method;
use perseid_logic::{NodeInfo, Scope};
use perseid_rpc::log_record;
use serde_json::{Map, Value, json};

use crate::access::ROUTES;
use crate::fakes::{Answer, World};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

async fn document(world: &World) -> Value {
    let answer = world.get("/openapi.json").await;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json; charset=utf-8"));
    answer.json()
}

/// Method, path and operation of everything that is described.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter()
            .filter(|(method, _)| METHODS.contains(&method.as_str()))
            .map(move |(method, operation)| (method, path.clone(), operation))
    };
    paths.iter().flat_map(of).collect()
}

/// Whether a path as it is asked for is the described one.
fn is_path(described: &str, asked: &str) -> bool {
    let (mut described, mut asked) = (described.split('/'), asked.split('/'));
    let fits = |described: &str, asked: &str| match described.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((_, "")) => ![":drain", ":convert", ":block", ":unblock"].iter().any(|suffix| asked.ends_with(suffix)),
        Some((_, suffix)) => asked.ends_with(suffix),
        None => described == asked,
    };
    loop {
        match (described.next(), asked.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if fits(one, other) => {}
            _ => return false,
        }
    }
}

#[tokio::test]
async fn what_is_described_is_there_and_what_is_there_is_described() {
    let world =
        World::with_tokens(&[("push", &[Scope::Push], None), ("read", &[Scope::Read], None), ("admin", &[Scope::Admin], None)]);
    let document = document(&world).await;
    let described = operations(&document);
    let mut ids = BTreeSet::new();
    for (method, path, operation) in &described {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}: each id once");
        assert!(operation["summary"].as_str().is_some_and(|words| !words.is_empty()), "{method} {path}");
        let tag = &operation["tags"][0];
        assert!(document["tags"].as_array().unwrap().iter().any(|known| known["name"] == *tag), "{method} {path}: {tag}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{method} {path}");
        let row = ROUTES
            .iter()
            .find(|(known, uri, ..)| known.eq_ignore_ascii_case(method) && is_path(path, uri.split('?').next().unwrap()));
        let (_, uri, scope, status) = row.unwrap_or_else(|| panic!("{method} {path} is described, and no route is known for it"));
        // Says what it needs, and that is true.
        let needed = operation["security"][0]["bearer"][0].as_str();
        assert_eq!(needed, scope.map(Scope::word), "{method} {path}");
        let method: Method = method.to_uppercase().parse().unwrap();
        let answer = match needed {
            Some(scope) => world.ask_as(scope, method, uri, "").await,
            None => world.ask(method, uri, "").await,
        };
        assert_eq!(answer.status, *status, "{uri}");
    }
    // The other way round. goim's routes have no JSON to describe.
    for (method, uri, ..) in ROUTES {
        let path = uri.split('?').next().unwrap();
        let is_described =
            described.iter().any(|(known, described, _)| known.eq_ignore_ascii_case(method) && is_path(described, path));
        assert_eq!(is_described, !path.starts_with("/goim/"), "{method} {uri}");
    }
    // And no described path knows a method that is not described.
    for (_, path, _) in &described {
        let asked = path.replace("{mid}", "7").replace("{id}", "vm:1").replace("{type}", "a");
        for method in METHODS {
            let is_known = ROUTES
                .iter()
                .any(|(known, uri, ..)| known.eq_ignore_ascii_case(method) && is_path(path, uri.split('?').next().unwrap()));
            if !is_known {
                let answer = world.ask_as("read", method.to_uppercase().parse().unwrap(), &asked, "").await;
                assert!(
                    [400, 403, 404, 405, 501].contains(&answer.status),
                    "{method} {asked}: {} {}",
                    answer.status,
                    answer.body
                );
            }
        }
    }
}

/// A schema by its name, or as it stands.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(name) => {
            let schema = &document["components"]["schemas"][name.strip_prefix("#/components/schemas/").unwrap()];
            assert!(schema.is_object(), "{name} is named and not there");
            resolved(document, schema)
        }
        None => schema,
    }
}

/// Checks a value as far as the document's schemas go; says what is wrong.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = resolved(document, schema);
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().try_for_each(|one| check(document, one, value, at));
    }
    if let Some(any) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let wrong: Vec<String> = any.iter().filter_map(|one| check(document, one, value, at).err()).collect();
        return if wrong.len() < any.len() { Ok(()) } else { Err(wrong.join("; or ")) };
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{at}: {value} is none of {words:?}"));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.contains(&kind) {
        return Err(format!("{at}: a {kind} where {kinds:?} is described"));
    }
    match value {
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(n, item)| check(document, &schema["items"], item, &format!("{at}[{n}]")))
        }
        Value::Object(fields) => check_fields(document, schema, fields, at),
        _ => Ok(()),
    }
}

fn check_fields(document: &Value, schema: &Value, fields: &Map<String, Value>, at: &str) -> Result<(), String> {
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            return Err(format!("{at}: {name} is missing"));
        }
    }
    fields.iter().try_for_each(|(name, value)| match schema["properties"].get(name) {
        Some(property) => check(document, property, value, &format!("{at}.{name}")),
        // A part of an allOf knows only its own.
        None if schema["additionalProperties"] == json!(false) => Err(format!("{at}: {name} is not described")),
        None => Ok(()),
    })
}

/// The names of all fields that a schema describes, those of its parts too.
fn described_fields<'a>(document: &'a Value, schema: &'a Value) -> BTreeSet<&'a str> {
    let schema = resolved(document, schema);
    let own = schema["properties"].as_object().into_iter().flat_map(|fields| fields.keys().map(String::as_str));
    let parts = ["allOf", "oneOf"].into_iter().flat_map(|word| schema[word].as_array().into_iter().flatten());
    own.chain(parts.flat_map(|part| described_fields(document, part))).collect()
}

#[tokio::test]
async fn examples_are_what_the_schemas_say_and_what_the_server_takes() {
    let world = World::keeping(perseid_logic::Config::default());
    world.connect(7, "web-1", "web", 1);
    let document = document(&world).await;
    let mut requests = 0;
    for (method, path, operation) in operations(&document) {
        let content = &operation["requestBody"]["content"]["application/json"];
        let named = content["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
        for (at, example) in named.chain(content.get("example")).enumerate() {
            // A group stays what it is: each example has its own.
            let path = path.replace("{mid}", "7").replace("{id}", &(42 + at).to_string());
            check(&document, &content["schema"], example, "example").unwrap_or_else(|why| panic!("{method} {path}: {why}"));
            if !path.ends_with(":drain") {
                let answer = world.ask(method.to_uppercase().parse().unwrap(), &path, example.to_string()).await;
                assert_eq!(answer.status, 200, "{path} {example}: {}", answer.body);
            }
            requests += 1;
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (_, content) in response["content"].as_object().into_iter().flatten() {
                if let Some(example) = content.get("example") {
                    check(&document, &content["schema"], example, "example")
                        .unwrap_or_else(|why| panic!("{method} {path} {status}: {why}"));
                }
            }
        }
    }
    assert!(requests >= 8, "{requests}");
    // The check can fail.
    let push = &document["paths"]["/v1/messages"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    for bad in
        [json!({}), json!({ "to": 7 }), json!({ "to": {}, "colour": "red" }), json!({ "to": { "mids": [true] } }), json!([])]
    {
        check(&document, push, &bad, "it").unwrap_err();
    }
}

#[tokio::test]
async fn answers_are_what_the_schemas_say() {
    let mut nodes = crate::fakes::FakeNodes { rooms: vec![crate::fakes::room("live://1", 4)], ..Default::default() };
    nodes.nodes = vec![NodeInfo { id: "vm:1".to_owned(), tcp: vec!["127.0.0.1:3101".to_owned()], ..NodeInfo::default() }];
    let world = World::keeping_nodes(nodes);
    world.connect(7, "web-1", "web", 1);
    let document = document(&world).await;
    let push = r#"{"to":{"mids":[7]},"body":"x"}"#;
    let batch = format!(r#"{{"messages":[{push},{{"to":{{}},"body":"x"}}]}}"#);
    let drain = "/v1/nodes/vm:1:drain";
    let mut seen = BTreeSet::new();
    for (method, uri, path, body) in [
        ("POST", "/v1/messages", "/v1/messages", push),
        ("POST", "/v1/messages", "/v1/messages", "{}"),
        ("POST", "/v1/messages:batch", "/v1/messages:batch", &batch),
        ("GET", "/v1/users/7", "/v1/users/{mid}", ""),
        ("GET", "/v1/users/x", "/v1/users/{mid}", ""),
        ("POST", "/v1/users:online", "/v1/users:online", r#"{"mids":[7,"8"]}"#),
        ("GET", "/v1/rooms", "/v1/rooms", ""),
        ("GET", "/v1/rooms?limit=0", "/v1/rooms", ""),
        ("GET", "/v1/rooms/live/1", "/v1/rooms/{type}/{id}", ""),
        ("GET", "/v1/nodes", "/v1/nodes", ""),
        ("GET", "/v1/nodes/vm:1", "/v1/nodes/{id}", ""),
        ("GET", "/v1/nodes/x", "/v1/nodes/{id}", ""),
        ("GET", drain, "/v1/nodes/{id}:drain", ""),
        ("POST", drain, "/v1/nodes/{id}:drain", r#"{"per_second":5}"#),
        ("GET", drain, "/v1/nodes/{id}:drain", ""),
        ("DELETE", "/v1/users/7/sessions", "/v1/users/{mid}/sessions", ""),
        ("GET", "/readyz", "/readyz", ""),
        ("PUT", "/v1/groups/4", "/v1/groups/{id}", r#"{"kind":"group","members":[7,8],"owner":7,"name":"n"}"#),
        ("PUT", "/v1/groups/4", "/v1/groups/{id}", r#"{"kind":"channel","members":[]}"#),
        ("GET", "/v1/groups/4", "/v1/groups/{id}", ""),
        ("POST", "/v1/messages", "/v1/messages", r#"{"to":{"group":4},"body":"x"}"#),
        ("POST", "/v1/messages", "/v1/messages", r#"{"to":{"mids":[7]},"store":true,"body":"x"}"#),
        ("POST", "/v1/groups/4/members", "/v1/groups/{id}/members", r#"{"add":[9],"remove":[8]}"#),
        ("POST", "/v1/groups/4:convert", "/v1/groups/{id}:convert", ""),
        ("GET", "/v1/groups/4/messages", "/v1/groups/{id}/messages", ""),
        ("GET", "/v1/groups/5/messages", "/v1/groups/{id}/messages", ""),
        ("GET", "/v1/users/7/inbox", "/v1/users/{mid}/inbox", ""),
        ("GET", "/v1/users/7/inbox?after=99", "/v1/users/{mid}/inbox", ""),
        ("GET", "/v1/users/7", "/v1/users/{mid}", ""),
        ("POST", "/v1/users/7:block", "/v1/users/{mid}:block", r#"{"peer":8}"#),
        ("POST", "/v1/users/7:unblock", "/v1/users/{mid}:unblock", r#"{"peer":8}"#),
        ("DELETE", "/v1/groups/4", "/v1/groups/{id}", ""),
        ("GET", "SENT", "/v1/messages/{id}", ""),
        ("GET", "/v1/messages/1", "/v1/messages/{id}", ""),
    ] {
        // The notice, of which there is most to tell.
        let id = || world.log.stored().iter().find(|record| matches!(record.body, Some(log_record::Body::Notice(_)))).unwrap().id;
        let uri = if uri == "SENT" { &format!("/v1/messages/{}", id()) } else { uri };
        let answer: Answer = world.ask(method.parse().unwrap(), uri, body.to_owned()).await;
        let operation = &document["paths"][path][method.to_lowercase()];
        let responses = &operation["responses"];
        let response = responses.get(answer.status.to_string()).unwrap_or(&responses["default"]);
        let content = response["content"].as_object().unwrap_or_else(|| panic!("{method} {path} {}", answer.status));
        let kind = answer.content_type.split(';').next().unwrap();
        let schema = &content.get(kind).unwrap_or_else(|| panic!("{method} {path}: {kind} is not described"))["schema"];
        check(&document, schema, &answer.json(), "answer").unwrap_or_else(|why| panic!("{method} {uri}: {why}"));
        let known = described_fields(&document, schema);
        for name in answer.json().as_object().unwrap().keys() {
            assert!(known.contains(name.as_str()), "{method} {uri}: {name} is not described");
        }
        if answer.status < 300 {
            seen.insert(operation["operationId"].as_str().unwrap().to_owned());
        }
    }
    let all: BTreeSet<String> = operations(&document)
        .into_iter()
        .map(|(.., operation)| operation["operationId"].as_str().unwrap().to_owned())
        .filter(|id| !["alive", "listEvents"].contains(&id.as_str()))
        .collect();
    assert_eq!(seen, all, "each operation was seen to do it");
}

#[tokio::test]
async fn the_document_as_a_whole() {
    let world = World::new();
    let document = document(&world).await;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let words = document["components"]["schemas"]["Reason"]["enum"].as_array().unwrap();
    let known: Vec<&str> = perseid_logic::reason::Reason::ALL.iter().map(|reason| reason.word()).collect();
    assert_eq!(words, &known);
    // Every reference leads somewhere.
    let text = document.to_string();
    for part in text.split("\"$ref\":\"").skip(1) {
        resolved(&document, &json!({ "$ref": part.split('"').next().unwrap() }));
    }
}

#[tokio::test]
async fn a_page_to_try_it_that_loads_nothing_from_elsewhere() {
    let world = World::new();
    let page = world.get("/docs/").await;
    assert_eq!((page.status, page.content_type.starts_with("text/html")), (200, true));
    assert_eq!(world.get("/docs").await.status / 100, 3);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'; script-src 'self';") && !policy.contains("http"), "{policy}");
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "{}", page.body);
    for name in page.body.split('"').filter(|word| word.ends_with(".js") || word.ends_with(".css")) {
        let file = world.get(&format!("/docs/{}", name.trim_start_matches("./"))).await;
        assert_eq!(file.status, 200, "{name}");
        assert!(file.headers.contains_key("content-security-policy"));
    }
    assert!(world.get("/docs/swagger-initializer.js").await.body.contains("/openapi.json"));
    assert_eq!(world.get("/docs/no-such-file").await.status, 404);
}
