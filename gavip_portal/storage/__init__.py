"""The portal's database: projects, releases and instances; everything else is derived from Git and the hub."""
