//! What there is.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::oss::Oss;
use super::{KIND, REGION, SOURCE};

/// Regions there are; each has two zones, of which the second has machines.
pub(super) const REGIONS: [&str; 4] = [REGION, "cn-beijing", "cn-shanghai", "eu-central-1"];
/// Types of machines there are in the second zone of each region.
pub(super) const KINDS: [&str; 3] = [KIND, "ecs.g7.large", "ecs.c7.xlarge"];

/// A state, and the one that follows after some questions.
#[derive(Debug, Clone)]
pub(super) struct Life {
    now: &'static str,
    next: &'static str,
    left: u32,
}

impl Life {
    pub(super) fn new(now: &'static str, next: &'static str, left: u32) -> Life {
        let now = if left == 0 { next } else { now };
        Life { now, next, left }
    }

    /// As it is, without anybody asking.
    pub(super) fn now(&self) -> &'static str {
        self.now
    }

    /// As a question sees it.
    pub(super) fn look(&mut self) -> &'static str {
        let seen = self.now;
        if self.now != self.next {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                self.now = self.next;
            }
        }
        seen
    }
}

pub(super) type Pairs = Vec<(String, String)>;

pub(super) struct Vpc {
    pub(super) region: String,
    pub(super) name: String,
    pub(super) block: String,
    pub(super) description: String,
    pub(super) life: Life,
}

pub(super) struct VSwitch {
    pub(super) region: String,
    pub(super) vpc: String,
    pub(super) zone: String,
    pub(super) name: String,
    pub(super) block: String,
    pub(super) description: String,
    pub(super) life: Life,
}

pub(super) struct Group {
    pub(super) region: String,
    pub(super) vpc: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) tags: Pairs,
}

pub(super) struct Eip {
    pub(super) region: String,
    pub(super) life: Life,
    pub(super) instance: String,
}

pub(super) struct KeyPair {
    pub(super) region: String,
    pub(super) public: String,
    pub(super) tags: Pairs,
}

pub(super) struct Instance {
    pub(super) region: String,
    pub(super) name: String,
    pub(super) life: Life,
    pub(super) vswitch: String,
    pub(super) group: String,
    pub(super) key: Option<String>,
    pub(super) user_data: String,
    pub(super) tags: Pairs,
    pub(super) kind: String,
    pub(super) image: String,
}

#[derive(Clone)]
pub(super) struct Image {
    pub(super) region: String,
    pub(super) name: String,
    pub(super) owner: &'static str,
    pub(super) life: Life,
    pub(super) snapshots: Vec<String>,
    pub(super) tags: Pairs,
    pub(super) shares: Vec<String>,
    pub(super) family: String,
    pub(super) description: String,
    pub(super) encrypted: bool,
}

pub(super) struct Snapshot {
    pub(super) region: String,
    pub(super) name: String,
    pub(super) life: Life,
    pub(super) tags: Pairs,
}

#[derive(Default)]
pub(super) struct State {
    counter: u32,
    /// What calls with a token were answered.
    pub(super) tokens: HashMap<(String, String), (Value, String)>,
    pub(super) nonces: HashSet<String>,
    pub(super) vpcs: BTreeMap<String, Vpc>,
    pub(super) vswitches: BTreeMap<String, VSwitch>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) eips: BTreeMap<String, Eip>,
    pub(super) keys: BTreeMap<String, KeyPair>,
    pub(super) instances: BTreeMap<String, Instance>,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) snapshots: BTreeMap<String, Snapshot>,
    /// How often something was still in use when it was to be deleted.
    pub(super) refused: HashMap<String, u32>,
    pub(super) rules: Vec<String>,
    pub(super) import_role: bool,
    pub(super) oss: Oss,
    /// What a test put there itself.
    given: HashSet<String>,
}

impl State {
    pub(super) fn new() -> State {
        let mut state = State { import_role: true, ..State::default() };
        for region in REGIONS {
            let image = State::ready_image(region, SOURCE, "system", "family-of-centos");
            let id = if region == REGION { SOURCE.to_owned() } else { format!("{region}-{SOURCE}") };
            state.given.insert(id.clone());
            state.images.insert(id, image);
        }
        state
    }

    fn ready_image(region: &str, name: &str, owner: &'static str, family: &str) -> Image {
        Image {
            region: region.to_owned(),
            name: name.to_owned(),
            owner,
            life: Life::new("Available", "Available", 0),
            snapshots: Vec::new(),
            tags: Vec::new(),
            shares: Vec::new(),
            family: family.to_owned(),
            description: String::new(),
            encrypted: false,
        }
    }

    /// An id that nothing has yet.
    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}-double{:06}", self.counter)
    }

    pub(super) fn add_image(&mut self, region: &str, name: &str) -> String {
        let (id, snapshot) = (self.id("m"), self.id("s"));
        let mut image = State::ready_image(region, name, "self", "");
        image.snapshots.push(snapshot.clone());
        let life = Life::new("accomplished", "accomplished", 0);
        let of = Snapshot { region: region.to_owned(), name: name.to_owned(), life, tags: Vec::new() };
        self.given.extend([id.clone(), snapshot.clone()]);
        self.snapshots.insert(snapshot, of);
        self.images.insert(id.clone(), image);
        id
    }

    pub(super) fn add_network(&mut self, zone: &str) -> (String, String, String) {
        let (vpc, vswitch, group) = (self.id("vpc"), self.id("vsw"), self.id("sg"));
        let region = zone.rsplit_once('-').map_or(REGION, |(region, _)| region).to_owned();
        let life = || Life::new("Available", "Available", 0);
        let (name, block) = ("the user's".to_owned(), "10.1.0.0/16".to_owned());
        let of = Vpc { region: region.clone(), name: name.clone(), block, description: String::new(), life: life() };
        self.vpcs.insert(vpc.clone(), of);
        let part = VSwitch {
            region: region.clone(),
            vpc: vpc.clone(),
            zone: zone.to_owned(),
            name: name.clone(),
            block: "10.1.0.0/24".to_owned(),
            description: String::new(),
            life: life(),
        };
        self.vswitches.insert(vswitch.clone(), part);
        let who = Group { region, vpc: vpc.clone(), name, description: String::new(), tags: Vec::new() };
        self.groups.insert(group.clone(), who);
        self.given.extend([vpc.clone(), vswitch.clone(), group.clone()]);
        (vpc, vswitch, group)
    }

    pub(super) fn image(&self, id: &str) -> Option<&Image> {
        self.images.get(id)
    }

    /// An image of the account that stays when a build is done.
    fn is_finished(&self, id: &str, image: &Image) -> bool {
        let marked = image.tags.iter().any(|(key, _)| key == "kiln-build");
        image.owner == "self" && image.life.now() == "Available" && !marked && !self.given.contains(id)
    }

    pub(super) fn finished_images(&self) -> Vec<(String, String, String)> {
        let finished = self.images.iter().filter(|(id, image)| self.is_finished(id, image));
        finished.map(|(id, image)| (image.region.clone(), id.clone(), image.name.clone())).collect()
    }

    pub(super) fn left(&self) -> Vec<String> {
        let mut all: Vec<(&str, String)> = Vec::new();
        all.extend(self.vpcs.keys().map(|id| ("vpc", id.clone())));
        all.extend(self.vswitches.keys().map(|id| ("vswitch", id.clone())));
        all.extend(self.groups.keys().map(|id| ("security_group", id.clone())));
        all.extend(self.eips.keys().map(|id| ("eip", id.clone())));
        all.extend(self.keys.keys().map(|id| ("key_pair", id.clone())));
        all.extend(self.instances.keys().map(|id| ("instance", id.clone())));
        let unfinished = self.images.iter().filter(|(id, image)| !self.is_finished(id, image));
        all.extend(unfinished.map(|(id, _)| ("image", id.clone())));
        // Those of a finished image stay with it.
        let kept: HashSet<&String> = self
            .images
            .iter()
            .filter(|(id, image)| self.is_finished(id, image))
            .flat_map(|(_, image)| &image.snapshots)
            .collect();
        all.extend(self.snapshots.keys().filter(|id| !kept.contains(id)).map(|id| ("snapshot", id.clone())));
        all.retain(|(_, id)| !self.given.contains(id));
        let objects = self.oss.left();
        all.into_iter().map(|(kind, id)| format!("{kind} {id}")).chain(objects).collect()
    }
}
