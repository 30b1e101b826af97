//! Figures over time, on virtual time: a point each five seconds for a quarter of an hour, and the latest second.

mod virtual_time;

use std::time::Duration;

use sluicemq::broker::FigurePoint;
use sluicemq::codec::QoS;
use sluicemq::message::Loss;
use virtual_time::{BEGIN, Town, connect};

const SECOND: Duration = Duration::from_secs(1);

fn lost(point: &FigurePoint, loss: Loss) -> f64 {
    point.lost[loss as usize]
}

#[test]
fn each_second_has_its_point_and_five_of_them_one_that_is_kept() {
    let mut town = Town::new("");
    let absent = town.arrive(&connect("away", true, 3600), "test");
    town.subscribe(absent, "t", QoS::AtMostOnce);
    town.cut(absent);
    let publisher = town.client("p");
    let receiver = town.client("r");
    town.subscribe(receiver, "t", QoS::AtMostOnce);
    assert_eq!(town.broker.latest_figures(), None);
    assert_eq!(town.broker.sample_figures(town.now), None);
    for second in 1..=5 {
        town.publish_many(publisher, "t", second, QoS::AtMostOnce);
        town.pass(SECOND);
        let point = town.broker.sample_figures(town.now).expect("there is one before");
        assert_eq!(point.time, BEGIN.after(SECOND * second as u32));
        assert_eq!((point.clients, point.messages), (2, (second as f64, second as f64)));
        assert_eq!(lost(&point, Loss::OfflineQos0), second as f64);
        assert_eq!((point.level, point.cause, point.commit), (0, None, None));
        assert_eq!(town.broker.latest_figures(), Some(point));
        assert_eq!(town.broker.figure_history().len(), second / 5);
    }
    let kept = &town.broker.figure_history()[0];
    assert_eq!(kept.messages, (3.0, 3.0), "fifteen in five seconds");
    assert_eq!((lost(kept, Loss::OfflineQos0), lost(kept, Loss::Expired)), (3.0, 0.0));
}

#[test]
fn a_quarter_of_an_hour_is_kept_whatever_comes() {
    let town = Town::new("");
    for second in 0..2000 {
        town.broker.sample_figures(BEGIN.after(SECOND * second));
    }
    let history = town.broker.figure_history();
    assert_eq!(history.len(), 180);
    assert_eq!(history[179].time, BEGIN.after(SECOND * 1995));
    // After a pause as long as that nothing of before is left.
    town.broker.sample_figures(BEGIN.after(SECOND * 4000));
    assert_eq!(town.broker.figure_history().len(), 1);
}
