//! A writer from a [`Policy`] to the object that [`Policy::from_json`] reads.

use serde_json::{Map, Value, json};

use super::{API_VERSION, Announce, CommonModel, Exemptions, KIND, LabelSelector, Policy};
use crate::word::Word;

impl Policy {
    /// Returns the policy as an object of the API. Omits empty selectors and fields with their default value,
    /// except the dials.
    pub(crate) fn to_json(&self) -> Value {
        let Self {
            name,
            namespace_selector,
            virtual_machine_selector,
            node_selector,
            enforce,
            warn,
            audit,
            common_model,
            launcher_selectors,
            exemptions,
        } = self;
        let mut spec = Map::new();
        let mut put = |field: &str, value: Value| spec.insert(field.to_owned(), value);
        let selectors = [
            ("namespaceSelector", namespace_selector),
            ("virtualMachineSelector", virtual_machine_selector),
            ("nodeSelector", node_selector),
        ];
        for (field, of) in selectors.into_iter().filter(|(_, of)| **of != LabelSelector::default()) {
            put(field, selector(of));
        }
        for (field, dial) in [("enforce", enforce), ("warn", warn), ("audit", audit)] {
            put(field, dial.as_str().into());
        }
        if let Some(CommonModel { name, replaces, otherwise, announce }) = common_model {
            let replaces: Vec<&str> = replaces.iter().map(|mode| mode.as_str()).collect();
            let mut common = json!({"name": name, "replaces": replaces, "otherwise": otherwise.as_str()});
            if *announce != Announce::Warning {
                common["announce"] = announce.as_str().into();
            }
            put("commonModel", common);
        }
        let default = Self::builtin();
        if *launcher_selectors != default.launcher_selectors {
            put("launcherSelectors", launcher_selectors.as_str().into());
        }
        if *exemptions != default.exemptions {
            let Exemptions { users, namespaces, controllers } = exemptions;
            let users: Vec<&str> = users.iter().map(super::UserName::as_str).collect();
            put("exemptions", json!({"users": users, "namespaces": namespaces, "controllers": controllers}));
        }
        json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec})
    }
}

fn selector(of: &LabelSelector) -> Value {
    let LabelSelector { match_labels, match_expressions } = of;
    let mut out = Map::new();
    if !match_labels.is_empty() {
        out.insert("matchLabels".to_owned(), json!(match_labels));
    }
    if !match_expressions.is_empty() {
        let conditions = match_expressions.iter().map(|condition| {
            let mut out = json!({"key": condition.key, "operator": condition.operator.as_str()});
            if !condition.values.is_empty() {
                out["values"] = json!(condition.values);
            }
            out
        });
        out.insert("matchExpressions".to_owned(), conditions.collect());
    }
    Value::Object(out)
}
