"""What training adds to an encoder: projectors, a restoring decoder, a discriminator; none of it is exported."""
