use super::*;

fn check(names: &[&str], expected: Result<&str, IdentityError>) {
    let found = Identity::from_dns_names(names.iter().copied());
    assert_eq!(found.map(|identity| identity.to_string()), expected.map(str::to_owned), "{names:?}");
}

#[test]
fn one_identity_beside_its_role_name_is_read() {
    check(&["n1.node.prod.quoit.internal", "localhost", "node.prod.quoit.internal"], Ok("node n1 of cluster prod"));
}

#[test]
fn anything_else_speaks_for_nobody() {
    check(&["localhost"], Err(IdentityError::Missing));
    check(&["node.prod.quoit.internal"], Err(IdentityError::Missing));
    check(&["n1.node.prod.quoit.internal"], Err(IdentityError::NoRoleName("node.prod.quoit.internal".into())));
    check(
        &["n1.node.p.quoit.internal", "n2.node.p.quoit.internal", "node.p.quoit.internal"],
        Err(IdentityError::Several("n1.node.p.quoit.internal".into(), "n2.node.p.quoit.internal".into())),
    );
    check(
        &["n1.client.p.quoit.internal", "client.p.quoit.internal", "node.p.quoit.internal"],
        Err(IdentityError::Several("n1.client.p.quoit.internal".into(), "node.p.quoit.internal".into())),
    );
    check(
        &["n1.node.p.quoit.internal", "node.p.quoit.internal", "n2.node.p.QUOIT.INTERNAL"],
        Err(IdentityError::Several("n1.node.p.quoit.internal".into(), "n2.node.p.quoit.internal".into())),
    );
    check(&["a.b.node.p.quoit.internal"], Err(IdentityError::Malformed("a.b.node.p.quoit.internal".into())));
    check(&["*.node.p.quoit.internal"], Err(IdentityError::BadLabel("*".into())));
    check(&["n1.root.p.quoit.internal"], Err(IdentityError::Malformed("n1.root.p.quoit.internal".into())));
}

#[test]
fn labels_are_dns_labels() {
    for good in ["a", "n1", "web-01", &"x".repeat(63)] {
        assert!(good.parse::<Label>().is_ok(), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"x".repeat(64)] {
        assert!(bad.parse::<Label>().is_err(), "{bad}");
    }
}
