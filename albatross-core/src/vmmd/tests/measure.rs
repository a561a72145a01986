//! What the daemon tells a database about itself.

use albatross_proto::BlockCommand;

use super::*;

#[test]
fn what_is_allowed_and_in_use_is_measured_by_path() {
    let mut host = Host::new();
    assert_eq!(
        host.ask("foo:", add(Policy { block: Some(Int::from(20_i32)), ..policy(3, 96) })),
        said("added policy")
    );
    assert_eq!(host.create("foo:bar:hello", arguments()), said("created unikernel"));
    let block = Command::Block(BlockCommand::Add(Int::from(5_i32)));
    assert_eq!(host.ask("foo:data", block), said("added block device"));
    refused(&host.ask("foo:none", DESTROY));
    let lines = host.vmmd.measurements();
    let of = |start: &str| -> Vec<&String> { lines.iter().filter(|line| line.starts_with(start)).collect() };
    let memory = arguments().memory;
    assert_eq!(of("commands,vm=albatross "), ["commands,vm=albatross total=4i,failed=1i\n"]);
    // Who sent the policy may send more.
    let connections = "connections,vm=albatross,kind=unix active=1i,total=4i\n";
    assert_eq!(of("connections,"), [connections]);
    let maximum = "maximum\\ unikernels=3i,maximum\\ memory=96i,maximum\\ block=20i";
    assert_eq!(
        of("albatross-policies,vm=albatross,domain=foo "),
        [&format!("albatross-policies,vm=albatross,domain=foo {maximum}\n")]
    );
    let used = |domain: &str| {
        format!(
            "albatross-unikernels,vm=albatross,domain={domain} attached\\ used\\ block=0i,unattached\\ used\\ block=5i,\
             total\\ used\\ block=5i,running\\ unikernels=1i,used\\ memory={memory}i\n"
        )
    };
    for domain in ["foo", ":"] {
        assert_eq!(of(&format!("albatross-unikernels,vm=albatross,domain={domain} ")), [&used(domain)]);
    }
    assert_eq!(of("albatross-policies,vm=albatross,domain=: ").len(), 1);
}
