"""The domain's closed lists, stored as text: roles, statuses, kinds of checkpoints and pictures."""

import enum


class Role(enum.StrEnum):
    DRIVER = "driver"
    CUSTOMER = "customer"
    MANAGER = "manager"
    OPERATOR = "operator"


class Status(enum.StrEnum):
    PENDING = "pending"
    PICKUP_IN_PROGRESS = "pickup_in_progress"
    IN_TRANSIT = "in_transit"
    DELIVERED = "delivered"
    RETURNED = "returned"
    FAILED = "failed"


class CheckpointKind(enum.StrEnum):
    STATUS = "status"
    ASSIGNMENT = "assignment"
    LOCATION = "location"
    PROOF = "proof"


# What watchers are told of; a status fact is made of each.
ANNOUNCED = (CheckpointKind.STATUS, CheckpointKind.ASSIGNMENT)


class ImageKind(enum.StrEnum):
    PHOTO = "photo"
    SIGNATURE = "signature"


class ProofPart(enum.StrEnum):
    """What a company may ask for before a delivery is delivered."""

    PHOTO = "photo"
    SIGNATURE = "signature"
    RECIPIENT_NAME = "recipient_name"
