//! The dashboard and the alerts use metrics, labels and values that are there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::exported::{Family, families, family_of};
use crate::promql::{Used, used};

/// What Prometheus itself adds to each sample.
const FROM_OUTSIDE: [&str; 2] = ["instance", "job"];

fn deploy(file: &str) -> String {
    let path = format!("{}/../deploy/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is wrong with an expression, given what is exported and recorded.
fn wrong(expression: &str, families: &BTreeMap<String, Family>, recorded: &BTreeMap<String, Used>) -> Vec<String> {
    let Used { selectors, grouped } = used(expression);
    let mut wrong = Vec::new();
    let mut labels: BTreeSet<String> = FROM_OUTSIDE.iter().map(|label| (*label).to_owned()).collect();
    for selector in selectors {
        let metric = selector.metric;
        if let Some(record) = recorded.get(&metric) {
            labels.extend(record.grouped.iter().cloned());
            continue;
        }
        if metric == "up" {
            continue;
        }
        let Some(family) = families.get(family_of(&metric)) else {
            wrong.push(format!("{metric} is not exported"));
            continue;
        };
        let suffix = &metric[family_of(&metric).len()..];
        let right = match family.kind.as_str() {
            "counter" => suffix == "_total",
            "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count"),
            _ => suffix.is_empty(),
        };
        if !right {
            wrong.push(format!("{metric} is a {}", family.kind));
        }
        labels.extend(family.labels.keys().cloned());
        if suffix == "_bucket" {
            labels.insert("le".to_owned());
        }
        for (label, values) in selector.matchers {
            let known = family.labels.get(&label);
            if known.is_none() && !FROM_OUTSIDE.contains(&label.as_str()) {
                wrong.push(format!("{metric} has no label {label}"));
            }
            let unknown = values.iter().filter(|value| known.is_some_and(|known| !known.contains(*value)));
            wrong.extend(unknown.map(|value| format!("{metric} has no {label} {value}")));
        }
    }
    wrong.extend(grouped.difference(&labels).map(|label| format!("nothing here has a label {label}")));
    wrong
}

fn strings<'v>(value: &'v Value, key: &str, out: &mut Vec<&'v str>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value.as_str() {
                    Some(text) if name == key => out.push(text),
                    _ => strings(value, key, out),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| strings(value, key, out)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_what_is_there() {
    let families = families();
    let dashboard: Value = serde_json::from_str(&deploy("grafana/perseid.json")).unwrap();
    let mut expressions = Vec::new();
    strings(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 40, "{}", expressions.len());
    for expression in expressions {
        assert_eq!(wrong(expression, &families, &BTreeMap::new()), [""; 0], "{expression}");
    }
}

#[test]
fn the_dashboard_is_one() {
    let dashboard: Value = serde_json::from_str(&deploy("grafana/perseid.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variable = |name: &str| variables.iter().find(|variable| variable["name"] == name).unwrap();
    assert_eq!((&variable("datasource")["type"], &variable("instance")["type"]), (&"datasource".into(), &"query".into()));
    assert!(
        dashboard["schemaVersion"].as_u64().unwrap() >= 36 && dashboard["uid"] == "perseid" && dashboard["title"].is_string()
    );

    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap_or_else(|| panic!("{title}: no {side}"));
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} does not fit the grid");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(places.insert(cell), "{title} lies over another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("{title}: no targets"));
        let refs: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!targets.is_empty() && refs.len() == targets.len(), "{title}");
        for source in targets.iter().map(|target| &target["datasource"]).chain([&panel["datasource"]]) {
            assert_eq!(source["uid"], "${datasource}", "{title}");
        }
        assert!(targets.iter().all(|target| target["expr"].as_str().is_some_and(|expr| !expr.is_empty())), "{title}");
    }
}

/// A rule of the file, which is written with one thing a line so that this can read it.
#[derive(Debug, Default)]
struct Rule {
    record: Option<String>,
    alert: Option<String>,
    expr: String,
    severity: Option<String>,
    has_summary: bool,
    has_description: bool,
}

fn rules(text: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- record: ") {
            rules.push(Rule { record: Some(name.to_owned()), ..Rule::default() });
        } else if let Some(name) = line.strip_prefix("- alert: ") {
            rules.push(Rule { alert: Some(name.to_owned()), ..Rule::default() });
        }
        let Some(rule) = rules.last_mut() else { continue };
        if let Some(expr) = line.strip_prefix("expr: ") {
            expr.clone_into(&mut rule.expr);
        } else if let Some(severity) = line.strip_prefix("labels: { severity: ") {
            rule.severity = Some(severity.trim_end_matches(" }").to_owned());
        }
        rule.has_summary |= line.starts_with("summary: \"");
        rule.has_description |= line.starts_with("description: \"");
    }
    rules
}

#[test]
fn the_alerts_watch_what_is_there() {
    let families = families();
    let rules = rules(&deploy("prometheus/alerts.yml"));
    let recorded: BTreeMap<String, Used> =
        rules.iter().filter_map(|rule| Some((rule.record.clone()?, used(&rule.expr)))).collect();
    let mut names = BTreeSet::new();
    for rule in &rules {
        assert_eq!(wrong(&rule.expr, &families, &recorded), [""; 0], "{rule:?}");
        // What would be read as something else in YAML.
        assert!(!rule.expr.is_empty() && !rule.expr.contains(": ") && !rule.expr.contains(" #"), "{rule:?}");
        let name = rule.record.as_ref().or(rule.alert.as_ref()).unwrap();
        assert!(names.insert(name.clone()), "{name} is there twice");
        if rule.alert.is_some() {
            assert!(rule.has_summary && rule.has_description, "{rule:?}");
            assert!(["page", "soon", "look"].contains(&rule.severity.as_deref().unwrap_or_default()), "{rule:?}");
        } else {
            assert!(name.starts_with("perseid:"), "{name}");
        }
    }
    assert!(rules.iter().filter(|rule| rule.alert.is_some()).count() > 10);
}

#[test]
fn a_wrong_expression_would_be_found() {
    let family = Family { kind: "counter".to_owned(), labels: [("reason".to_owned(), ["slow".to_owned()].into())].into() };
    let families = [("perseid_x".to_owned(), family)].into();
    for (expression, problem) in [
        ("rate(perseid_x_total[1m])", None),
        (r#"sum by (reason) (perseid_x_total{reason="slow"})"#, None),
        ("perseid_y", Some("not exported")),
        ("perseid_x", Some("is a counter")),
        (r#"perseid_x_total{reason="fast"}"#, Some("no reason fast")),
        (r#"perseid_x_total{way="slow"}"#, Some("no label way")),
        ("sum by (way) (perseid_x_total)", Some("label way")),
    ] {
        let found = wrong(expression, &families, &BTreeMap::new());
        assert_eq!(found.is_empty(), problem.is_none(), "{expression}: {found:?}");
        assert!(problem.is_none_or(|problem| found[0].contains(problem)), "{expression}: {found:?}");
    }
}
