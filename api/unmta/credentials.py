"""/clusters/{cluster}/credentials."""

from litestar import delete, get, post, put
from litestar.params import FromPath, JSONBody

from api.requests import FromCaller, FromCore
from api.unmta import schemas, translate
from orchestrator.db import reading, writing
from orchestrator.services import clusters
from orchestrator.services import credentials as service
from orchestrator.services.rights import Right

TAGS = ["Credentials"]
PATH = "/{cluster:str}/credentials"


@get(PATH, sync_to_thread=True, tags=TAGS, right=Right.READ)
def list_credentials(
    core: FromCore, caller: FromCaller, cluster: FromPath[str]
) -> schemas.Data[list[schemas.Credential]]:
    """All SMTP credentials of the cluster, without their passwords."""
    with reading(core.engine) as session:
        rows = service.list_(session, clusters.get(session, caller.workspace, cluster))
    return schemas.Data([translate.credential(row) for row in rows])


@post(PATH, sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def create_credential(
    core: FromCore,
    caller: FromCaller,
    cluster: FromPath[str],
    data: JSONBody[schemas.CreateCredential],
) -> schemas.NewCredential:
    """Make a credential; its password is in this answer, and nowhere else afterwards."""
    wanted = translate.restrictions(data)
    # Not in the transaction that writes: hashing takes long, and nobody shall wait for it.
    with reading(core.engine) as session:
        its = clusters.get(session, caller.workspace, cluster)
    with writing(core.engine) as session:
        row, password = service.create(session, its, data.user, wanted)
    return schemas.NewCredential(data=translate.credential(row), password=password)


@put(PATH + "/{user:str}", sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def update_credential(
    core: FromCore,
    caller: FromCaller,
    cluster: FromPath[str],
    user: FromPath[str],
    data: JSONBody[schemas.UpdateCredential],
) -> schemas.Data[schemas.Credential]:
    """Change restrictions; what isn't given stays. A list without a word about all is the list."""
    wanted = translate.restrictions(data)
    with writing(core.engine) as session:
        its = clusters.get(session, caller.workspace, cluster)
        row = service.update(session, its, user, wanted)
    return schemas.Data(translate.credential(row))


@delete(PATH + "/{user:str}", sync_to_thread=True, tags=TAGS, right=Right.WRITE)
def delete_credential(
    core: FromCore, caller: FromCaller, cluster: FromPath[str], user: FromPath[str]
) -> None:
    """Delete a credential, at once: applications that use it can't send any more."""
    with writing(core.engine) as session:
        service.delete(session, clusters.get(session, caller.workspace, cluster), user)


HANDLERS = [list_credentials, create_credential, update_credential, delete_credential]
