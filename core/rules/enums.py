"""The domain's enums, stored as text."""

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


# The checkpoints of which clients are notified, each by a status fact.
ANNOUNCED = (CheckpointKind.STATUS, CheckpointKind.ASSIGNMENT)


class ImageKind(enum.StrEnum):
    PHOTO = "photo"
    SIGNATURE = "signature"


class ProofPart(enum.StrEnum):
    """A part of a proof of delivery that a company may require for the status `delivered`."""

    PHOTO = "photo"
    SIGNATURE = "signature"
    RECIPIENT_NAME = "recipient_name"
