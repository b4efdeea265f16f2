use std::sync::Arc;

use quoit_proto_types::{
    Boot, Instance, Ordinal,
    view::{ViewDelta, ViewFields},
};

use super::*;
use crate::stage;

/// View `epoch` of twenty members.
fn routing(epoch: u64) -> Routing {
    let view = stage::view(|fields| {
        let members = (1..=20).map(stage::member).collect();
        let (epoch, fence, next_ordinal) = (Epoch::new(epoch), Fence::new(1), Ordinal::new(21));
        *fields = ViewFields { epoch, fence, members, next_ordinal, ..fields.clone() };
    });
    Routing::new(Arc::new(view), Instance::from_random(1), Boot::new(1))
}

#[test]
fn whoever_has_a_view_that_is_remembered_gets_the_difference() {
    let views = Views::default();
    assert!(views.update_from(Epoch::GENESIS).is_none());
    let (one, two) = (routing(1), routing(2));
    views.push(&one);
    views.push(&two);
    let update = views.update_from(Epoch::new(1)).unwrap();
    assert_eq!((update.kind, update.epoch, update.fence), (FrameType::ViewDelta, Epoch::new(2), Fence::new(1)));
    let delta = ViewDelta::decode(&update.body).unwrap();
    assert_eq!(delta.apply(one.view(), one.hash()).as_ref(), Ok(&**two.view()));
    for other in [0, 2, 7] {
        let update = views.update_from(Epoch::new(other)).unwrap();
        assert_eq!((update.kind, View::decode(&update.body).as_ref()), (FrameType::View, Ok(&**two.view())), "{other}");
    }
}

#[test]
fn an_update_is_encoded_once() {
    let views = Views::default();
    views.push(&routing(1));
    views.push(&routing(2));
    let bodies = [1, 1, 0, 9].map(|epoch| views.update_from(Epoch::new(epoch)).unwrap().body);
    assert_eq!(bodies[0].as_ptr(), bodies[1].as_ptr());
    assert_eq!(bodies[2].as_ptr(), bodies[3].as_ptr());
    views.push(&routing(3));
    assert_ne!(views.update_from(Epoch::new(1)).unwrap().epoch, Epoch::new(2));
}

#[tokio::test]
async fn those_who_wait_for_a_view_are_woken() {
    let views = Views::default();
    let mut latest = views.latest();
    assert_eq!(*latest.borrow_and_update(), Epoch::GENESIS);
    views.push(&routing(4));
    assert!(latest.changed().await.is_ok());
    assert_eq!(*latest.borrow(), Epoch::new(4));
    assert_eq!(views.records(9).len(), 1);
    assert!(views.at(Epoch::new(4)).is_some() && views.at(Epoch::new(3)).is_none());
}
