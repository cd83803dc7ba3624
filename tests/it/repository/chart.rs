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
            "description" | "default" | "nullable" => {}
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

#[test]
fn a_policy_of_the_chart_has_the_schema_of_the_definition() {
    let schema: Value = serde_json::from_str(&file("helm/cpufit/values.schema.json")).expect("a schema");
    let definition: Value = serde_saphyr::from_str(&file("base/crd.yaml")).expect("a definition");
    let of_chart = plain(&schema["properties"]["policies"]["items"]["properties"]["spec"], &schema["definitions"]);
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let of_cluster = plain(definition.pointer(spec).expect("the schema of spec"), &Value::Null);
    assert_eq!(of_chart, of_cluster, "a policy that the API server refuses fails only after all else is installed");
}
