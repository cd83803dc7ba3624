//! The schema of the chart's values, compared with what a cluster takes.

use std::path::Path;

use serde_json::{Map, Value};

use crate::common::read;

fn file(path: &str) -> String {
    String::from_utf8(read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path))).expect("UTF-8")
}

/// Returns a schema without references and descriptions, and with `pattern` for rules that match one.
fn plain(schema: &Value, definitions: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
        let name = name.strip_prefix("#/definitions/").expect("a definition");
        return plain(&definitions[name], definitions);
    }
    let mut out = Map::new();
    for (key, value) in fields {
        match key.as_str() {
            "description" | "default" | "nullable" | "if" | "then" | "else" | "not" | "propertyNames" => {}
            "x-kubernetes-validations" => {
                let mut rules = value.as_array().expect("rules").iter().filter_map(|rule| rule["rule"].as_str());
                let pattern = rules.find_map(|rule| rule.strip_prefix("self.matches('")?.split('\'').next());
                out.extend(pattern.map(|pattern| ("pattern".to_owned(), Value::from(pattern))));
            }
            _ if key.starts_with("x-kubernetes-") => {}
            "properties" => {
                let fields = value.as_object().expect("fields").iter();
                let fields = fields.map(|(name, field)| (name.clone(), plain(field, definitions)));
                out.insert(key.clone(), Value::Object(fields.collect()));
                out.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            "additionalProperties" if value.is_boolean() => {}
            _ => {
                out.insert(key.clone(), plain(value, definitions));
            }
        }
    }
    Value::Object(out)
}

/// Rules of the definition that match no pattern, by their beginning, and what says the same in the chart: a path in
/// the definitions of its schema. The last words of a rule may differ from place to place.
const RULES: [(&str, &str); 6] = [
    ("self.all(key, type(self[key]) == string)", "/policySelector/properties/matchLabels/additionalProperties/type"),
    ("self.all(key, key.matches('", "/policySelector/properties/matchLabels/propertyNames/pattern"),
    (
        "!(self.operator in ['In', 'NotIn'])",
        "/policySelector/properties/matchExpressions/items/then/properties/values/minItems",
    ),
    (
        "self.operator in ['In', 'NotIn'] ||",
        "/policySelector/properties/matchExpressions/items/else/properties/values/maxItems",
    ),
    (
        "self != 'host-model' && self != 'host-passthrough'",
        "/policySpec/properties/commonModel/properties/name/not/enum",
    ),
    ("self.launcherSelectors != 'Common'", "/policySpec/then/required"),
];

/// Collects the rules below a schema.
fn rules<'s>(schema: &'s Value, found: &mut Vec<&'s str>) {
    for (key, value) in schema.as_object().into_iter().flatten() {
        if key == "x-kubernetes-validations" {
            found.extend(value.as_array().into_iter().flatten().filter_map(|rule| rule["rule"].as_str()));
        } else {
            rules(value, found);
        }
    }
}

#[test]
fn each_rule_of_the_definition_is_one_of_the_chart() {
    let schema: Value = serde_json::from_str(&file("helm/cpufit/values.schema.json")).expect("a schema");
    let definition: Value = serde_saphyr::from_str(&file("base/crd.yaml")).expect("a definition");
    let mut found = Vec::new();
    rules(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
    assert!(found.len() > 10, "{found:?}");
    for rule in found.into_iter().filter(|rule| !rule.starts_with("self.matches('")) {
        let known = RULES.iter().find(|(begin, _)| rule.starts_with(begin));
        let (_, path) =
            known.unwrap_or_else(|| panic!("helm installs all else before the API server refuses by {rule}"));
        assert!(schema["definitions"].pointer(path).is_some(), "{rule}: nothing is at {path}");
    }
}

#[test]
fn a_policy_of_the_chart_has_the_schema_of_the_definition() {
    let schema: Value = serde_json::from_str(&file("helm/cpufit/values.schema.json")).expect("a schema");
    let definition: Value = serde_saphyr::from_str(&file("base/crd.yaml")).expect("a definition");
    let of_chart = plain(&schema["properties"]["policies"]["items"]["properties"]["spec"], &schema["definitions"]);
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let of_cluster = plain(definition.pointer(spec).expect("the schema of spec"), &Value::Null);
    assert_eq!(of_chart, of_cluster, "a policy that the API server refuses fails only after all else is installed");
}
