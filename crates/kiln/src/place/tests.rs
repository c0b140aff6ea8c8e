//! Texts, and the places they mean.

use kiln_engine::bucket::Bucket;
use kiln_objects::Environment;

use super::*;

fn of(text: &str, wanted: Use) -> Result<Spec, String> {
    let variable = |name: &str| (name == "AWS_BUCKET").then(|| "from-env".to_owned());
    let around = Around { environment: Environment::empty(), variable: &variable };
    parse("--cache", text, wanted, &around).map_err(|e| e.render(false))
}

fn bucket(text: &str) -> Bucket {
    match of(text, Use::From).unwrap().place {
        Some(Place::Bucket(bucket)) => bucket,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn names_alone() {
    let repository = Place::Repository("r.io/a/cache".parse().unwrap());
    for wanted in [Use::From, Use::To, Use::Upkeep] {
        assert_eq!(of("r.io/a/cache", wanted).unwrap(), Spec { place: Some(repository.clone()), max: false });
        assert_eq!(of("type=registry,ref=r.io/a/cache", wanted).unwrap().place, Some(repository.clone()));
    }
    assert_eq!(of("r.io/a:1", Use::From).unwrap().place, Some(Place::Image("r.io/a:1".parse().unwrap())));
    assert!(of("r.io/a:1", Use::To).unwrap_err().contains("it names an image"));
    assert!(of("r.io/a:1", Use::Upkeep).unwrap_err().contains("it names an image"));
}

#[test]
fn modes_and_what_is_so_anyway() {
    let max = |text: &str| of(text, Use::To).unwrap().max;
    assert!(max("type=registry,ref=r.io/c,mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"));
    assert!(!max("type=local,dest=out,mode=min") && max("type=local,dest=out,mode=max"));
    assert_eq!(of("type=inline", Use::To).unwrap(), Spec { place: None, max: false });
}

#[test]
fn buckets() {
    let plain = bucket("s3://team-cache/app");
    assert_eq!((&*plain.to_string(), &*plain.documents, &*plain.name), ("s3://team-cache/app/", "manifests/", "kiln"));
    assert_eq!(plain, bucket("type=s3,bucket=team-cache,prefix=/app/"));
    assert_eq!(plain, bucket("type=s3,url=s3://team-cache/app"));
    assert_eq!(bucket("type=s3,region=eu-west-1").to_string(), "s3://from-env/");
    let all = bucket(
        "type=s3,bucket=bkt,region=eu-west-1,name=main,prefix=a/b,blobs_prefix=b,manifests_prefix=m/n,\
         endpoint_url=http://minio:9000,use_path_style=true,access_key_id=AKIA,secret_access_key=hunter2=,session_token=tok",
    );
    let environment = Environment::empty()
        .with("AWS_REGION", "eu-west-1")
        .with("S3_ENDPOINT", "http://minio:9000")
        .with("S3_FORCE_PATH_STYLE", "true")
        .with("AWS_ACCESS_KEY_ID", "AKIA")
        .with("AWS_SECRET_ACCESS_KEY", "hunter2=")
        .with("AWS_SESSION_TOKEN", "tok");
    assert_eq!((&all.environment, &*all.documents, &*all.blobs, &*all.name), (&environment, "m/n/", "b/", "main"));
    assert!(!format!("{all:?}").contains("hunter2"));
    assert_eq!(bucket("gs://bkt").to_string(), "gs://bkt/");
    let emulator = bucket("type=gs,bucket=bkt,endpoint_url=http://127.0.0.1:9023,without_auth=true").environment;
    assert_eq!(emulator.get("STORAGE_EMULATOR_HOST"), Some("http://127.0.0.1:9023"));
}

#[test]
fn containers_of_azure() {
    let own = bucket("type=azblob,account_url=https://acct.blob.core.windows.net,secret_access_key=a2V5,name=n");
    assert_eq!(own.to_string(), "https://acct.blob.core.windows.net/buckit-cache/".replace("buckit", "buildkit"));
    assert_eq!(own.environment.get("AZURE_STORAGE_ACCESS_KEY"), Some("a2V5"));
    let signed = bucket("type=azblob,account_url=https://acct.blob.core.windows.net?sig=hunter2,container=ctx");
    assert!(format!("{:?}", signed.root).contains("***") && !signed.to_string().contains("hunter2"));
    let azurite = bucket("type=azblob,account_url=http://127.0.0.1:10000/devstoreaccount1,container=ctx,prefix=p");
    assert_eq!(azurite.to_string(), "https://devstoreaccount1.blob.core.windows.net/ctx/p/");
    let endpoint = azurite.environment.get("AZURE_STORAGE_ENDPOINT");
    assert_eq!(endpoint, Some("http://127.0.0.1:10000/devstoreaccount1"));
}

#[test]
fn what_is_wrong_is_named_and_secrets_are_not() {
    const SECRETS: &str = "access_key_id=hunter2,secret_access_key=hunter2";
    for (text, wanted, why) in [
        ("type=tape,ref=x", Use::From, "`tape` is not a type of cache"),
        ("type=gha", Use::From, "a cache of the type gha is not supported"),
        ("ref=x", Use::From, "type= is missing"),
        ("type=inline", Use::From, "named by the image"),
        ("type=inline,mode=max", Use::To, "leave mode=max out"),
        ("type=local,dest=x", Use::From, "src= is missing"),
        ("type=local,src=x,dest=y", Use::From, "`dest` is not an option"),
        ("type=registry", Use::From, "ref= is missing"),
        ("type=registry,ref=x,mode=max", Use::From, "of --cache-to"),
        ("type=registry,ref=x,mode=most", Use::To, "min or max"),
        ("type=registry,ref=X Y", Use::From, "--cache type=registry,ref=X Y: "),
        ("type=registry,ref=x,size=3", Use::From, "`size` is not an option"),
        ("type=registry,ref=x,ref=y", Use::From, "ref= is given twice"),
        ("type=registry,ref", Use::From, "`ref` is not KEY=VALUE"),
        ("type=registry,ref=x,oci-mediatypes=false", Use::To, "oci-mediatypes=false is not supported"),
        ("type=registry,ref=x,ignore-error=false", Use::To, "is a warning"),
        ("type=s3,bucket=abc/b", Use::To, "as prefix="),
        ("type=s3,bucket=b", Use::To, "too short"),
        ("type=s3,bucket=bkt,touch_refresh=24h", Use::To, "`touch_refresh` is not an option"),
        ("type=s3,bucket=bkt,use_path_style=yes", Use::To, "use_path_style is true or false"),
        ("type=s3,bucket=bkt,name=a;b", Use::To, "name= is one word"),
        ("type=s3,bucket=bkt,name=..", Use::To, "name= is one word"),
        ("type=s3,bucket=bkt,prefix=a/../b", Use::To, "`.` or `..`"),
        ("type=s3,bucket=bkt,blobs_prefix=../b", Use::To, "`.` or `..`"),
        ("type=s3,bucket=bkt,endpoint_url=minio:9000", Use::To, "endpoint_url is not"),
        ("type=s3,bucket=bkt,endpoint_url=http://u:hunter2@h", Use::To, "endpoint_url is not"),
        ("type=s3,bucket=bkt,secret_access_key=hunter2", Use::To, "belong together"),
        ("type=s3,bucket=bkt,session_token=hunter2", Use::To, "belong together"),
        ("type=s3,url=gs://bkt/x", Use::To, "is not an address of a cache of the type s3"),
        ("type=gs,bucket=bkt,gcp_json_key=hunter2", Use::To, "GOOGLE_APPLICATION_CREDENTIALS"),
        ("type=gs,bucket=bkt,endpoint_url=http://h", Use::To, "needs without_auth=true"),
        ("type=gs,bucket=bkt,without_auth=true", Use::To, "needs endpoint_url"),
        ("type=gs", Use::To, "bucket= is missing"),
        ("type=azblob,container=c", Use::To, "account_url= is missing"),
        ("type=azblob,account_url=http://h", Use::To, "account_name= is missing"),
        ("type=azblob,account_url=https://h.example/acct?sig=hunter2", Use::To, "without login and query"),
        ("s3://", Use::From, "names no bucket"),
        ("s3://a:hunter2@bkt/x", Use::From, "must not hold a user"),
        ("ftp://u:hunter2@h/x", Use::From, "expected s3://"),
        ("https://acct.blob.core.windows.net?sig=hunter2", Use::From, "names no bucket or container"),
    ] {
        let error = of(text, wanted).unwrap_err();
        assert!(error.contains(why) && !error.contains("hunter2"), "{text}: {error}");
        let error = of(&format!("type=s3,{SECRETS},nonsense=1,{text}"), wanted).unwrap_err();
        assert!(!error.contains("hunter2"), "{text}: {error}");
    }
}
