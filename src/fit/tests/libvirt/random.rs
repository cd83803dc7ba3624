//! Random guests with libvirt's answers.

use super::*;

fn random_cpu(random: &mut Random) -> Cpu {
    const FEATURES: [&str; 7] = ["fpu", "hle", "rtm", "avx512vnni", "gfni", "vaes", "vmx-ept"];
    let model = random.one(&["Cascadelake-Server", "Skylake-Server", NEW, OLD, "Icelake-Server-noTSX", "Unheard-of"]);
    let mut out = cpu(model, &[], &[]);
    for feature in FEATURES {
        match random.below(4) {
            0 => drop(out.require.insert(feature.to_owned())),
            1 => drop(out.disable.insert(feature.to_owned())),
            2 if feature != "fpu" => drop(out.forbid.insert(feature.to_owned())),
            _ => {}
        }
    }
    out
}

pub(super) fn case(random: &mut Random) -> (Subject<'static>, Vec<Node>) {
    let names: Vec<String> =
        (0..2 + random.below(4)).map(|at| format!("node-{}", ["a", "b", "c", "d", "e"][at])).collect();
    let kinds: [fn(&str) -> Node; 5] = [cascade_lake, cascade_lake, skylake, ice_lake, rome];
    let asks: Vec<String> = [feature("fpu"), feature("hle"), feature("gfni"), known(NEW), vendor("Intel")]
        .into_iter()
        .chain([format!("{}synic", label::HYPERV)])
        .filter(|_| random.percent(40))
        .collect();
    let nodes: Vec<Node> = names
        .iter()
        .map(|name| {
            let mut node = random.one(&kinds)(name);
            let lost: Vec<String> = asks.iter().filter(|_| random.percent(40)).cloned().collect();
            take(&mut node, &lost);
            node
        })
        .collect();
    let mut asked = said(random_cpu(random), [], []);
    let mut answers = BTreeMap::new();
    let mut hosts = LibvirtHosts::new();
    for name in &names {
        let answer = match random.below(4) {
            0 => Ok(LibvirtAnswer::Identical),
            1 => Ok(LibvirtAnswer::Superset),
            2 => Ok(refusal()),
            _ => Err(Silence::NoLauncher),
        };
        answers.insert(name.clone(), answer);
        if random.percent(60) {
            let models = ["Cascadelake-Server", NEW, OLD, "Icelake-Server-noTSX", "EPYC", "EPYC-Rome", "n270"];
            let usable = |random: &mut Random| match random.below(8) {
                0 => blocked(&["hle"]),
                1 => Usable::Unknown,
                _ => Usable::Yes,
            };
            let models = models.map(|model| (model.to_owned(), usable(random)));
            let models = models.into_iter().filter(|_| random.percent(90)).collect();
            hosts.insert(
                name.clone(),
                LibvirtHost {
                    model: random.percent(80).then(|| random_cpu(random)),
                    models: random.percent(90).then_some(models),
                },
            );
        }
    }
    (asked.nodes, asked.hosts) = (Arc::new(answers), Arc::new(hosts));
    (guest(&asks, asked), nodes)
}
