//! `fmt` against packer's.

use kiln_hcl::format::format;

use crate::packer::packer;

const MESSY: &str = r#"# head
a=1 # one
bbb  =  [ 1,2 , -3 ]   // three
/* block */ c = 3
f = a ?b:c
g = [ for x in [1] :x if(x>1) ]
h = {for k,v in m: k=>v...}
i = "${ var.x }-%{ if true }y%{ endif }"
j = -1 - -2
k = x[ 0 ].y[*].z
l = { a=1, b : 2 }
m = {
a=1
bbb:2
"c"=3
}
n = [
{
a=1
}, {
b=2
},
]
source "x"  y{
  heredoc=<<-EOT
      foo ${ var.x }
   EOT
  zz=1


  foo=(1+2)*3
    # deep
}
foo {}
bar { a=1 }
baz {

}
q = f(a,
b)
r = f({
a = 1
})
s = a&&b||c
t = a==b
u = (-1)
v = 5%3 # x
# lone

w = x.*.y
y = {}
z = [] # foo
long_name = 1 // bar
aa = <<EOF
  keep	this
EOF
ab = [
1, # one
22, # two
"x${ "y" }" # three
]
provisioner   "shell" {
inline=["a",
"b"]
nested {
deep {
x=1
}
}
}
"#;

#[test]
fn formats_as_packer_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.pkr.hcl");
    std::fs::write(&path, MESSY).unwrap();
    packer(&["fmt", path.to_str().unwrap()], "");
    let theirs = std::fs::read_to_string(&path).unwrap();
    let ours = format(MESSY).unwrap();
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours, theirs);
    assert_eq!(format(&ours).unwrap(), ours);
}
