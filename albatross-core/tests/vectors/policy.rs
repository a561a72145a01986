//! `policy/cases.json`: names, policies, the tree, MAC addresses, restarts.

use std::collections::{BTreeMap, BTreeSet};

use albatross_core::resources::{Exceeded, Refused, Resources, Unusable, allows, inside, usable};
use albatross_core::{mac, restart};
use albatross_proto::reply::Exit;
use albatross_proto::{
    Arguments, BlockDevice, FailBehaviour, Int, Label, MacAddress, Name, NetDevice, Path, Policy, Text,
};
use serde_json::{Value, json};

/// Runs the cases of this folder and says how many there are.
pub(crate) fn run(directory: &std::path::Path) -> usize {
    for entry in std::fs::read_dir(directory).unwrap() {
        assert_eq!(entry.unwrap().file_name(), "cases.json", "unknown kind of file in policy/");
    }
    let file = std::fs::read(directory.join("cases.json")).unwrap();
    let vectors: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(vectors["schema"], "albatross-policy/1");
    let cases = vectors["cases"].as_array().unwrap();
    assert!(!cases.is_empty(), "policy/cases.json is empty");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let op = case["op"].as_str().unwrap();
        *counts.entry(op).or_default() += 1;
        if let Err(difference) = run_case(op, case) {
            failures.push(format!("case {index}, {op}: {difference}"));
        }
    }
    for (op, count) in counts {
        println!("policy: {op}: {count} cases");
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    cases.len()
}

fn run_case(op: &str, case: &Value) -> Result<(), String> {
    let result = &case["result"];
    match op {
        "policy_usable" => same(&code(usable(&read_policy(&case["policy"])), unusable_code), result),
        "policy_is_smaller" => is_smaller(case),
        "fine_with_policy" => {
            let (policy, arguments) = (read_policy(&case["policy"]), read_arguments(&case["config"]));
            same(&code(allows(&policy, &arguments), exceeded_code), result)
        }
        "name_of_string" => same(&name_of(&case["input"], result), result),
        "path_of_string" => same(&path_of(&case["input"]), result),
        "label_of_string" => same(&label_of(&case["input"]), result),
        "label_bytes" => label_bytes(case),
        "name_mac" => name_mac(case),
        "should_restart" => should_restart(case),
        "resources" => resources(case),
        _ => Err("unknown op".to_owned()),
    }
}

fn same(got: &Value, expected: &Value) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{got} instead of {expected}")) }
}

fn code<E>(outcome: Result<(), E>, code: impl Fn(&E) -> &'static str) -> Value {
    match outcome {
        Ok(()) => json!({ "ok": true }),
        Err(error) => json!({ "error": code(&error) }),
    }
}

fn unusable_code(error: &Unusable) -> &'static str {
    match error {
        Unusable::Unikernels { .. } => "unusable-unikernels",
        Unusable::Cpuids => "unusable-cpuids",
        Unusable::Memory { .. } => "unusable-memory",
        Unusable::Block { .. } => "unusable-block",
        _ => panic!("no code for {error}"),
    }
}

fn exceeded_code(error: &Exceeded) -> &'static str {
    match error {
        Exceeded::Unikernels { .. } => "unikernels",
        Exceeded::Memory { .. } => "memory",
        Exceeded::Cpuid { .. } => "cpuids",
        Exceeded::Bridge { .. } => "bridges",
        Exceeded::Block { .. } => "block",
        _ => panic!("no code for {error}"),
    }
}

fn refused_code(error: &Refused) -> &'static str {
    match error {
        Refused::Policy { exceeded, .. }
        | Refused::PolicyBelow { exceeded, .. }
        | Refused::InUse { exceeded } => exceeded_code(exceeded),
        Refused::PolicyNotFound(_) => "policy-not-found",
        Refused::UnikernelExists(_) => "exists",
        Refused::UnikernelNotFound(_) => "not-found",
        Refused::BlockExists(_) => "block-exists",
        Refused::BlockNotFound(_) | Refused::BlockNameInvalid(_) => "block-not-found",
        Refused::BlockInUse(_) => "block-in-use",
        _ => panic!("no code for {error}"),
    }
}

fn is_smaller(case: &Value) -> Result<(), String> {
    let (sub, sup) = (read_policy(&case["sub"]), read_policy(&case["super"]));
    same(&json!(sub == sup), &case["equal"])?;
    same(&code(inside(&sub, &sup), exceeded_code), &case["result"])
}

/// The text of an input; bytes that are not UTF-8 are no name, as `Name` takes text only.
fn input(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        _ => String::from_utf8(hex(value["hex"].as_str().unwrap())).ok(),
    }
}

fn invalid_name() -> Value {
    json!({ "error": "invalid-name" })
}

fn labels(path: &Path) -> Vec<&str> {
    path.labels().collect()
}

/// `pp` is how the peer prints a name for people; there is no such form here.
fn name_of(value: &Value, expected: &Value) -> Value {
    let Some(name) = input(value).and_then(|text| text.parse::<Name>().ok()) else { return invalid_name() };
    json!({
        "ok": true,
        "path": labels(name.path()),
        "label": name.label().map(Label::as_str),
        "to_string": name.to_string(),
        "pp": expected["pp"],
        "is_root": name == Name::root(),
    })
}

fn path_of(value: &Value) -> Value {
    match input(value).and_then(|text| text.parse::<Path>().ok()) {
        None => invalid_name(),
        Some(path) => json!({ "ok": true, "path": labels(&path), "to_string": path.to_string() }),
    }
}

fn label_of(value: &Value) -> Value {
    match input(value).and_then(|text| text.parse::<Label>().ok()) {
        None => invalid_name(),
        Some(label) => json!({ "ok": true, "label": label.as_str() }),
    }
}

fn label_bytes(case: &Value) -> Result<(), String> {
    let valid = |before: &str| {
        let is_label = |byte: &u8| {
            let bytes = [before.as_bytes(), &[*byte]].concat();
            String::from_utf8(bytes).is_ok_and(|text| text.parse::<Label>().is_ok())
        };
        json!((0..=255).filter(is_label).collect::<Vec<u8>>())
    };
    same(&valid(""), &case["valid_first"])?;
    same(&valid("a"), &case["valid_second"])
}

fn name_mac(case: &Value) -> Result<(), String> {
    let name: Name = case["name"].as_str().unwrap().parse().unwrap();
    same(&json!(mac::derive(&read_text(&case["bridge"]), &name).to_string()), &case["mac"])
}

/// A set that is there but empty never travels: it is read as no set. So these are asked one level lower.
fn should_restart(case: &Value) -> Result<(), String> {
    let value = int(&case["exit_value"]);
    let exit = match case["exit_kind"].as_str().unwrap() {
        "exit" => Exit::Exited(value),
        "signal" => Exit::Signalled(value),
        "stop" => Exit::Stopped(value),
        other => panic!("unknown exit {other}"),
    };
    let behaviour = &case["fail_behaviour"];
    let codes = (!behaviour["exit_codes"].is_null()).then(|| int_set(&behaviour["exit_codes"]));
    let restarts = match (behaviour["kind"].as_str().unwrap(), codes) {
        ("quit", _) => decides_to_restart(&FailBehaviour::Quit, exit),
        ("restart", None) => decides_to_restart(&FailBehaviour::Restart(BTreeSet::new()), exit),
        ("restart", Some(codes)) if codes.is_empty() => restart::restarts_on(Some(&codes), exit),
        ("restart", Some(codes)) => decides_to_restart(&FailBehaviour::Restart(codes), exit),
        other => panic!("unknown fail behaviour {other:?}"),
    };
    // The peer must not be asked about a quit; ours is no restart.
    let expected = if case["result"]["exception"].is_null() { &case["result"]["ok"] } else { &json!(false) };
    same(&json!(restarts), expected)
}

fn decides_to_restart(behaviour: &FailBehaviour, exit: Exit) -> bool {
    restart::decide(behaviour, exit, false) == restart::Decision::Restart
}

fn resources(case: &Value) -> Result<(), String> {
    let mut tree = Resources::default();
    let steps = case["steps"].as_array().unwrap();
    assert!(!steps.is_empty(), "a case without steps");
    for (index, step) in steps.iter().enumerate() {
        let got = take_step(&mut tree, step).map_or_else(|error| refused_code(&error), |()| "ok");
        same(&json!(got), &step["ours"])
            .map_err(|difference| format!("step {index}: {difference}: {step}"))?;
    }
    Ok(())
}

fn take_step(tree: &mut Resources, step: &Value) -> Result<(), Refused> {
    let name = || step["name"].as_str().unwrap().parse::<Name>().unwrap();
    let path = || read_path(&step["path"]);
    match step["step"].as_str().unwrap() {
        "insert_policy" => tree.insert_policy(&path(), read_policy(&step["policy"])),
        "check_policy" => tree.check_policy(&path(), &read_policy(&step["policy"])),
        "remove_policy" => tree.remove_policy(&path()).map(drop),
        "check_unikernel" => tree.check_unikernel(&name(), &read_arguments(&step["config"])),
        "create_unikernel" => tree.insert_unikernel(&name(), &read_arguments(&step["config"])),
        "remove_unikernel" => tree.remove_unikernel(&name()).map(drop),
        "check_block" => tree.check_block(&name(), int(&step["size"])),
        "insert_block" => tree.insert_block(&name(), int(&step["size"])),
        "remove_block" => tree.remove_block(&name()).map(drop),
        other => panic!("unknown step {other}"),
    }
}

fn read_path(value: &Value) -> Path {
    let labels = value.as_array().unwrap().iter().map(|label| label.as_str().unwrap().parse().unwrap());
    labels.fold(Path::root(), |path, label: Label| path.join(&label))
}

fn read_policy(value: &Value) -> Policy {
    Policy {
        cpuids: int_set(&value["cpuids"]),
        unikernels: int(&value["unikernels"]),
        memory: int(&value["memory"]),
        block: optional(&value["block"], int),
        bridges: list(&value["bridges"], read_text).into_iter().collect(),
    }
}

fn read_arguments(value: &Value) -> Arguments {
    Arguments {
        cpuids: int_set(&value["cpuids"]),
        memory: int(&value["memory"]),
        block_devices: list(&value["block_devices"], |device| BlockDevice {
            name: read_text(&device["name"]),
            device: optional(&device["device"], read_text),
            sector_size: optional(&device["sector_size"], int),
        }),
        net_devices: list(&value["bridges"], |device| NetDevice {
            name: read_text(&device["netif"]),
            bridge: optional(&device["bridge"], read_text),
            mac: optional(&device["mac"], |mac| mac.as_str().unwrap().parse::<MacAddress>().unwrap()),
        }),
        ..Arguments::new()
    }
}

fn read_text(value: &Value) -> Text {
    match value {
        Value::String(text) => text.as_str().into(),
        _ => hex(value["hex"].as_str().unwrap()).as_slice().into(),
    }
}

fn int(value: &Value) -> Int {
    Int::new(value.as_i64().unwrap_or_else(|| panic!("{value} is no integer"))).unwrap()
}

fn int_set(value: &Value) -> BTreeSet<Int> {
    list(value, int).into_iter().collect()
}

fn list<T>(value: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(read).collect()
}

fn optional<T>(value: &Value, read: impl Fn(&Value) -> T) -> Option<T> {
    (!value.is_null()).then(|| read(value))
}

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "{text} is no hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
