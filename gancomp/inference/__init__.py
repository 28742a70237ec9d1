"""What runs trained generators: opening, images in and out, sampling."""
