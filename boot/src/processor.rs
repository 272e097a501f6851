//! Processors that cannot boot: a model without long mode or without the NX bit ends in the boot loader by a triple fault, which
//! says nothing. So QEMU is asked what the model has before the machine is switched on.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

/// What a processor must have, as QEMU calls it and as people do.
const NEEDED: [(&str, &str); 2] =
    [("lm", "long mode (64 bits)"), ("nx", "the NX bit, which keeps data from being executed")];

/// The model that these arguments of QEMU's choose, if they do: of several the last.
pub(crate) fn chosen(arguments: &[String]) -> Option<&str> {
    let of_pair = |pair: &[String]| matches!(&*pair[0], "-cpu" | "--cpu");
    arguments.windows(2).rfind(|pair| of_pair(pair)).map(|pair| pair[1].as_str())
}

/// The question what a model has, for QEMU's control protocol. `model` is written as for `-cpu`.
pub(crate) fn question(model: &str) -> String {
    let mut parts = model.split(',');
    let name = parts.next().unwrap_or_default();
    let mut features = Map::new();
    for part in parts {
        let (feature, is_on) = match (part.strip_prefix('+'), part.strip_prefix('-'), part.split_once('=')) {
            (Some(feature), ..) => (feature, true),
            (_, Some(feature), _) => (feature, false),
            (.., Some((feature, "on"))) => (feature, true),
            (.., Some((feature, "off"))) => (feature, false),
            // Numbers and the like.
            (.., Some(_)) => continue,
            _ => (part, true),
        };
        features.insert(feature.into(), is_on.into());
    }
    let model = json!({ "name": name, "props": features });
    json!({ "execute": "query-cpu-model-expansion", "arguments": { "type": "full", "model": model } }).to_string()
}

/// Refuses a model that lacks what is needed, by QEMU's answers. What QEMU does not know it refuses itself, in its own words.
///
/// # Errors
/// The model lacks something.
pub(crate) fn check(model: &str, answers: &str) -> Result<()> {
    let messages = answers.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let features = messages.map(|message| message["return"]["model"]["props"].clone()).find(Value::is_object);
    for (feature, name) in NEEDED {
        if features.as_ref().is_some_and(|features| features[feature] == false) {
            bail!("the processor {model} cannot boot: it lacks {name}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_model_counts() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(chosen(&words("-cpu max -d int -cpu qemu64,-nx")), Some("qemu64,-nx"));
        assert_eq!(chosen(&words("-d int")), None);
    }

    #[test]
    fn features_are_asked_for_as_they_are_written() {
        let question: Value =
            serde_json::from_str(&question("max,phys-bits=40,-nx,+lm,smep=off,smap=on,umip")).unwrap();
        let model = &question["arguments"]["model"];
        assert_eq!(model["name"], "max");
        assert_eq!(model["props"], json!({ "nx": false, "lm": true, "smep": false, "smap": true, "umip": true }));
    }

    #[test]
    fn what_a_model_lacks_is_named() {
        let answer = |nx: bool| json!({ "return": { "model": { "props": { "lm": true, "nx": nx } } } }).to_string();
        check("max", &answer(true)).unwrap();
        check("nonsense", "{\"error\": {}}").unwrap();
        let refusal = check("max,-nx", &answer(false)).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "the processor max,-nx cannot boot: it lacks the NX bit, which keeps data from being executed"
        );
    }
}
