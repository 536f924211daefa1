//! Nodes that groups want whatever pods there are: up to their minimum, and for their head-room.

use jiff::Timestamp;

use super::{
    demand::is_starting,
    packing::{Packing, StandsFor},
};
use crate::{
    headroom::{self, Room},
    plan::Destination,
    snapshot::{GroupId, Headroom},
};

impl Packing<'_, '_> {
    /// Adds what is missing, as far as the limits allow. Head-room comes first: its nodes count for the minimum, while a
    /// node for the minimum need not have the room.
    pub(super) fn top_up(&mut self, now: Timestamp) {
        let snapshot = self.snapshot;
        for group in snapshot.group_ids() {
            if let Some(headroom) = &snapshot.group(group).headroom {
                self.top_up_headroom(group, headroom, now);
            }
            self.top_up_to_minimum(group);
        }
    }

    fn top_up_to_minimum(&mut self, group: GroupId) {
        while self.limits.below_minimum(group) && self.limits.has_room(group) {
            let Some(offer) = self.best_offer(group, |_| Some(1)) else {
                return;
            };
            if self.open(offer).is_none() {
                return;
            }
        }
    }

    fn top_up_headroom(&mut self, group: GroupId, headroom: &Headroom, now: Timestamp) {
        let mut room = self.room(group, headroom, now);
        while self.limits.has_room(group) {
            let missing = headroom.shortfall(&room);
            if missing == 0 {
                return;
            }
            // How many nodes of an offer would do.
            let offer = self.best_offer(group, |offer| {
                let template = self.offers.list.get(offer)?.template.as_ref()?;
                let one = headroom.room_of(&template.allocatable, &template.daemons, 0);
                let each = headroom.available(&one);
                (each != 0).then(|| i64::try_from(missing.div_ceil(each)).unwrap_or(i64::MAX))
            });
            let Some(spot) = offer.and_then(|offer| self.open(offer)) else {
                return;
            };
            let of_new = self.room_of(spot, headroom, u64::MAX);
            room.add(&of_new);
        }
    }

    /// The offer of a group of which so many nodes as are needed cost least; ties go to the preferred offering, then to
    /// the first one.
    fn best_offer(&self, group: GroupId, needed: impl Fn(usize) -> Option<i64>) -> Option<usize> {
        let preferred = self.snapshot.group(group).preferred.as_ref();
        let offers = self.offers.list.iter().enumerate().filter_map(|(index, offer)| {
            let template = offer.template.as_ref()?;
            if offer.group != group || offer.refusal.is_some() {
                return None;
            }
            let price = template.hourly_price.nanos().saturating_mul(needed(index)?);
            Some((price, preferred != Some(&offer.offering), index))
        });
        offers.min().map(|(_, _, index)| index)
    }

    /// What counts for the head-room of a group now.
    fn room(&self, group: GroupId, headroom: &Headroom, now: Timestamp) -> Room {
        let snapshot = self.snapshot;
        let mut room = Room::default();
        for (index, spot) in self.spots.iter().enumerate().filter(|(_, spot)| spot.open) {
            let (of_group, stationary) = match spot.stands_for {
                StandsFor::Existing(Destination::Node(node)) => {
                    let mut stationary = headroom::stationary(snapshot, node, now);
                    if is_starting(snapshot, node) {
                        // Pods of DaemonSets that are not there yet hold their room already.
                        let pods = u64::try_from(spot.pods.len()).unwrap_or(u64::MAX);
                        let used = u64::try_from(self.world.view(spot.bin).used.pods).unwrap_or(0);
                        let movable = headroom::movable(snapshot, node, now);
                        stationary = stationary.max(used.saturating_sub(pods).saturating_sub(movable));
                    }
                    (headroom::group_of(snapshot, node, now), stationary)
                }
                StandsFor::Existing(Destination::Machine(machine)) => {
                    let pods = u64::try_from(spot.pods.len()).unwrap_or(u64::MAX);
                    let used = u64::try_from(self.world.view(spot.bin).used.pods).unwrap_or(0);
                    (snapshot.machine(machine).group, used.saturating_sub(pods))
                }
                StandsFor::New(offer) => {
                    let daemons = self.offers.list.get(offer).and_then(|offer| offer.template.as_ref());
                    let daemons = daemons.map_or(0, |template| template.daemons.pods);
                    (self.group_of(offer), u64::try_from(daemons).unwrap_or(0))
                }
            };
            if of_group == Some(group) {
                room.add(&self.room_of(index, headroom, stationary));
            }
        }
        room
    }

    /// What one spot has, of whose pods this many would need no other place.
    fn room_of(&self, spot: usize, headroom: &Headroom, stationary: u64) -> Room {
        self.spots.get(spot).map_or_else(Room::default, |spot| {
            let view = self.world.view(spot.bin);
            let pods = u64::try_from(view.used.pods).unwrap_or(0);
            headroom.room_of(view.allocatable, view.used, pods.saturating_sub(stationary))
        })
    }
}
